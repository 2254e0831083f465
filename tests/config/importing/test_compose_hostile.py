"""Compose files that are made to exhaust or to mislead whoever reads them, and such as only look so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from config.errors import ConfigError
from config.importing import dotenv
from config.importing.compose import asked, found
from config.importing.found import Found
from config.importing.written import sniffed, written
from config.repository import parse

APP = "services:\n  web: {build: .}\n"


def read(text: str, files: dict[str, str] | None = None) -> Found:
    there = {path: one for path, one in (files or {}).items() if path in asked("compose.yaml", text)}
    return found("compose.yaml", text, there, lambda _: True)


def production(text: str, files: dict[str, str] | None = None) -> dict[str, Any]:
    said = read(text, files)
    said.repository()
    place: dict[str, Any] = said.data["environments"]["production"]
    return place


def web(*lines: str) -> str:
    return "services:\n  web:\n    build: .\n" + "".join(f"    {line}\n" for line in lines)


def test_a_file_with_variables_is_read_once_however_many_services_name_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read_before, texts = dotenv.variables, []

    def counted(text: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
        texts.append(text)
        return read_before(text, known)

    monkeypatch.setattr(dotenv, "variables", counted)
    many = "".join(f"  s{number}: {{build: ., env_file: [a, b, a, b]}}\n" for number in range(40))
    said = read(f"services:\n{many}", {"a": "A=1", "b": "B=$A"})

    assert texts.count("A=1") == 1
    assert said.data["environments"]["production"]["processes"]["s39"]["env"] == {"A": "1", "B": ""}


def test_the_last_of_two_files_counts_where_one_is_named_again() -> None:
    place = production(web("env_file: [a, b, a]"), {"a": "A=of a", "b": "A=of b"})
    assert place["processes"]["web"]["env"] == {"A": "of a"}


def test_variables_that_become_too_much_together_are_refused() -> None:
    lines = [f"V{number}: $A" for number in range(100)]
    faults = read(web("environment:", *(f"  {line}" for line in lines)), {".env": f"A={'x' * 8000}"}).faults
    assert faults == [
        "compose.yaml:2: services.web: the variables of all services become over 524288 characters"
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("healthcheck: {test: x, retries: 1" + "0" * 400 + "}", "retries: must be at most 3600"),
        ("healthcheck: {test: x, retries: -5}", "retries: must be at least 0"),
        ("healthcheck: {test: x, interval: 1.2.3s}", "interval: must be a time such as 30s"),
        ("mem_limit: " + "9" * 400, "mem_limit: must be a size such as 512m"),
        ("ports: [" + "9" * 5000 + "]", "must have the container's port"),
        ("ports: [{target: " + "9" * 5000 + "}]", "must have the container's port"),
        ("labels: [blacktree.web=" + "9" * 5000 + "]", "must be true, or the port"),
        ("environment: ['${NAME}']", "whose name is a variable without a value, NAME"),
        ("environment: [~]", "has an entry without a name"),
        ("env_file: [a, b, c, d, e, f, g, h]", "h is not read: at most 8 such files are"),
        ("env_file: .env.${STAGE:-prod}", ".env.test is not read"),
    ],
)
def test_what_cannot_be_is_a_fault_with_its_place(line: str, told: str) -> None:
    files = dict.fromkeys("abcdefgh", "X=1") | {".env": "STAGE=test", ".env.prod": "X=1"}
    with pytest.raises(ConfigError) as caught:
        read(web(line), files).repository()
    assert told in str(caught.value)
    assert str(caught.value).startswith("compose.yaml:4: services.web.")


def test_a_default_in_the_name_of_a_file_with_variables_counts() -> None:
    place = production(web("env_file: '.env.${STAGE:-prod}'"), {".env.prod": "X=1"})
    assert place["processes"]["web"]["env"] == {"X": "1"}


def test_nothing_that_a_terminal_obeys_is_told() -> None:
    said = read(web(r'"\e]0;title\a": 1', r'environment: {"A\e[31m": x}'))
    with pytest.raises(ConfigError) as caught:
        said.repository()
    assert "\n".join([*said.left_out, str(caught.value)]).replace("\n", "").isprintable()
    assert parse(written(read(web(r'"\e]0;title\a": 1'))))


def test_services_that_extend_each_other_in_a_circle_are_told_so() -> None:
    faults = read("services:\n  a: {extends: b}\n  b: {extends: a}").faults
    assert faults[0] == (
        "compose.yaml:2: services.a.extends: services extend each other in a circle, or over 8 levels deep"
    )


def test_what_is_extended_may_be_spelled_otherwise() -> None:
    place = production("""
services:
  base: &base
    profiles: [never]
    build: ./app
    environment: [A=1, B=1]
    healthcheck: {test: [CMD, old]}
  web:
    extends: base
    profiles: !!str ""
    build: {target: final}
    environment: {B: 2}
    healthcheck: {test: [CMD, new]}
""")
    assert place["processes"]["web"]["env"] == {"A": "1", "B": "2"}
    assert place["processes"]["web"]["health"]["command"] == ["new"]


def test_the_context_of_what_is_extended_stays() -> None:
    text = "services:\n  a: {build: ./app}\n  b: {extends: a, build: {target: final}, ports: [80]}\n"
    assert read(text).data["images"]["b"] == {
        "context": "app",
        "dockerfile": "app/Dockerfile",
        "target": "final",
    }


@pytest.mark.parametrize("key", ["container_name", "hostname", "x-note", "labels"])
def test_what_changes_nothing_needs_no_value_for_its_variables(key: str) -> None:
    value = "['traefik.rule=Host(`${DOMAIN}`)']" if key == "labels" else "${DOMAIN}"
    assert read(web(f"{key}: {value}")).faults == []


def test_volumes_that_would_become_one_are_told() -> None:
    faults = read(APP + "  db: {image: x, volumes: ['my_data:/a', 'my-data:/b', 'other:/c']}\n").faults
    assert faults == ["compose.yaml:3: services.db.volumes.1: my-data is at /a already: mount it at one path"]


def test_images_that_would_be_called_alike_stay_two() -> None:
    said = read("services:\n  my_app: {build: ., ports: [80]}\n  my-app: {build: ./other}\n")
    processes = said.repository().environments["production"].processes
    assert said.data["images"]["my-app-2"]["context"] == "other"
    assert (processes["web"].image, processes["my-app"].image) == ("my-app", "my-app-2")


@pytest.mark.parametrize("text", ["[" * 100_000, "a: &a [*a]", "{[a]: b}"])
def test_what_kind_of_file_it_is_is_told_of_any(text: str) -> None:
    assert sniffed("compose.yaml", text) == "compose"


def test_an_empty_user_is_none() -> None:
    place = production(APP + "  other: {build: ., user: '', read_only: false}\n")
    assert not {"user", "read_only"} & {*place}


def test_what_many_services_extend_is_counted_for_each() -> None:
    ports = ",".join(str(number) for number in range(1, 1000))
    many = "".join(f"  s{number}: {{extends: web}}\n" for number in range(20))
    faults = read(f"services:\n  web: {{build: ., ports: [{ports}]}}\n{many}").faults
    assert faults == [
        "compose.yaml:9: services.s6: services have over 8000 values, what they extend included"
    ]


def test_a_note_is_no_longer_than_people_read() -> None:
    profiles = ",".join("p" * 30 for _ in range(1500))
    (told, *_) = read(APP + f"  tool: {{image: x, profiles: [{profiles}]}}\n").left_out
    assert len(told) < 700
