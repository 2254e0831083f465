"""Whatever is written into `.blacktree.yml`: a model, or faults that people can read; never anything else."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from ruamel.yaml import YAML

from config import repository
from config.channels import Channel
from config.errors import ConfigError
from config.repository import (
    BuildLimits,
    Checkout,
    Environment,
    Freeze,
    Gates,
    Health,
    Image,
    Limits,
    Logs,
    Notifications,
    Process,
    Repository,
    Schedule,
    Service,
    Task,
    parse,
)

FILE = """\
x-env: &env {LEVEL: info}
images:
  web: {context: web, paths: [web/**], test: [npm, test], tags: ["{branch}", "{version}"]}
  api: {dockerfile: api/Dockerfile, args: {A: b}, registries: [ghcr.io/acme]}
environments:
  production: {image: web, env: *env, tags: [v*], gates: {checks: [ci], after: staging}}
  staging: {image: api, env: {<<: *env, MODE: test}, health: {path: /ok}, limits: {memory: 1g}}
  preview: {image: web, ttl: 3d, domain: "pr-{pr}.example.com"}
schedules: [{cron: "0 4 * * mon", environment: staging}]
notifications: {comment: false}
"""
KEYS = sorted(
    {key for part in (Repository, Image, Environment, Gates, Schedule) for key in part.model_fields}
    | {"<<", "x-a", "production", "preview", "app"}
)
quick = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(KEYS)
)
structures = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=8)), inner, max_size=4),
    ),
    max_leaves=15,
)


def dumped(data: Any) -> str:
    out = io.StringIO()
    YAML(typ="safe").dump(data, out)
    return out.getvalue()


# What pydantic, libyaml and Python say in such cases; and what is said of an error that has no words of ours.
LIBRARYS = re.compile(
    r"Input should|[Vv]alue error|Field required|Extra inputs|pydantic|\bexpected\b|while (parsing|scanning)"
    r"|found (char|un)"
    r"|not allowed in this context|invalid literal|could not|constrained|Traceback|Errno|does not fit here"
)
FAULT = re.compile(r"\.blacktree\.yml(?::([1-9][0-9]*))?: \S.*")


def parsed(text: str, *, lined: bool = False) -> Repository | None:
    """The model, or None where there are faults, each with the file and, always if `lined`, a line of it."""
    try:
        return parse(text)
    except ConfigError as error:
        told = str(error).split("\n")
    last = len(re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text))
    for line in told:
        fault = FAULT.fullmatch(line)
        assert fault, line
        assert not LIBRARYS.search(line), line
        assert int(fault[1]) <= last if fault[1] else not lined, line
    return None


@quick
@given(st.text(max_size=300))
def test_any_text_is_a_file_or_a_fault(text: str) -> None:
    parsed(text)


@quick
@given(st.text(alphabet="{}[]<>&*!|>'\"%@`#:,-? \n\tab01.~", max_size=120))
def test_any_punctuation_is_a_file_or_a_fault(text: str) -> None:
    parsed(text)


@quick
@given(structures)
def test_any_yaml_is_a_file_or_a_fault(data: Any) -> None:
    parsed(dumped(data))


def within(part: type[BaseModel], values: Any) -> dict[str, Any]:
    """A file with these values of that part."""
    freeze = {"environments": {"production": {"freeze": [values]}}}
    deep = {
        Repository: values,
        Image: {"images": {"app": values}},
        repository.Test: {"images": {"app": {"test": values}}},
        BuildLimits: {"images": {"app": {"limits": values}}},
        Environment: {"environments": {"production": values}},
        Health: {"environments": {"production": {"health": values}}},
        Service: {
            "environments": {"production": {"services": {"db": {"image": "postgres:17", **(values or {})}}}}
        },
        repository.Backup: {
            "environments": {"production": {"services": {"db": {"image": "a", "backup": values}}}}
        },
        repository.Seed: {"environments": {"preview": {"services": {"db": {"image": "a", "seed": values}}}}},
        Limits: {"environments": {"production": {"limits": values}}},
        Process: {"environments": {"production": {"processes": {"web": values}}}},
        Task: {"environments": {"production": {"tasks": {"nightly": values}}}},
        Gates: {"environments": {"production": {"gates": values}}},
        Freeze: freeze,
        Checkout: {"checkout": values},
        Schedule: {"schedules": [values]},
        Notifications: {"notifications": values},
        Channel: {"notifications": {"channels": {"team": values}}},
        Logs: {"logs": values},
    }
    return dict(deep[part])


PARTS = [one for one in vars(repository).values() if isinstance(one, type) and issubclass(one, BaseModel)]


@pytest.mark.parametrize("part", [one for one in PARTS if one.model_fields], ids=lambda one: one.__name__)
def test_any_value_of_any_key_is_taken_or_told_in_our_words(part: type[BaseModel]) -> None:
    odd: list[Any] = [
        None,
        True,
        -1,
        10**30,
        1.5,
        "",
        "x",
        "\t",
        "a" * 9_000,
        [],
        ["x"],
        [["x"]],
        [None],
        {},
        {"x": "y"},
    ]
    odd += [dict.fromkeys("x"), dict.fromkeys([""]), {"A": "b\r\nc"}]
    odd += [["a"] * 300, {f"a{n}": "/b" for n in range(300)}]
    for key, field in part.model_fields.items():
        for value in odd:
            parsed(json.dumps(within(part, {field.alias or key: value})))  # JSON is YAML


@quick
@given(st.dictionaries(st.sampled_from(sorted(Environment.model_fields)), structures, max_size=5), structures)
def test_any_values_of_known_keys_are_a_file_or_a_fault(values: dict[str, Any], other: Any) -> None:
    parsed(dumped({"environments": {"production": values}, "images": other}), lined=True)


@quick
@given(st.integers(0, len(FILE)), st.integers(0, 12), st.one_of(st.text(max_size=12), st.sampled_from(KEYS)))
def test_a_file_with_a_slip_in_it_is_a_file_or_a_fault(at: int, cut: int, put: str) -> None:
    parsed(FILE[:at] + put + FILE[at + cut :])


@quick
@given(st.text(max_size=120))
def test_any_cron_is_a_time_or_a_fault(cron: str) -> None:
    parsed(dumped({"schedules": [{"cron": cron, "environment": "production"}]}))


names = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name != "preview" and not name.startswith("pr-")
)
words = st.text(
    st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("üé漢"), min_size=1, max_size=20
)
images = st.builds(
    Image,
    target=st.none() | st.sampled_from(["runtime", "build-2"]),
    args=st.dictionaries(st.sampled_from(["A", "B_2", "_c"]), words, max_size=3),
    timeout=st.integers(1, 86_400),
    platforms=st.lists(st.sampled_from(["linux/amd64", "linux/arm/v7"]), max_size=2),
    paths=st.lists(words, max_size=3),
    test=st.none() | st.lists(words, min_size=1, max_size=3).map(lambda command: {"command": command}),
    tags=st.lists(st.sampled_from(["{branch}", "v{version}", "latest"]), max_size=3),
)
gates = st.builds(Gates, review=st.booleans(), checks=st.booleans() | st.lists(words, max_size=3))
environments = st.builds(
    Environment,
    branches=st.lists(words, max_size=3),
    on=st.none() | st.lists(st.sampled_from(["push", "tag", "release", "command"]), max_size=3),
    port=st.none() | st.integers(1, 65_535),
    command=st.none() | st.lists(words, max_size=3),
    env=st.dictionaries(st.sampled_from(["A", "B"]), words, max_size=2),
    ttl=st.sampled_from(["90s", "3d"]),
    gates=gates,
)


@st.composite
def repositories(draw: st.DrawFn) -> Repository:
    made = draw(st.dictionaries(names, images, min_size=1, max_size=3))
    places = draw(st.dictionaries(names, environments, max_size=3))
    image = st.sampled_from(sorted(made))
    return Repository(
        images=made,
        environments={
            name: place.model_copy(update={"image": draw(image)}) for name, place in places.items()
        },
        retries=draw(st.none() | st.integers(0, 10)),
    )


@quick
@given(repositories())
def test_a_model_that_is_written_down_is_read_as_the_same(config: Repository) -> None:
    assert parse(json.dumps(config.model_dump(mode="json"), ensure_ascii=False)) == config  # JSON is YAML


def test_the_file_that_slips_are_made_in_is_fine() -> None:
    assert parsed(FILE) is not None


@pytest.mark.parametrize(
    "text", ["a: \ud800\n", "\ufeffimages: {a: {}}\n", "a: &a\n  <<: *a\n", "<<: 1\n", "? \n"]
)
def test_odd_text_is_a_file_or_a_fault(text: str) -> None:
    parsed(text)
