"""`.blacktree.yml`: what may stand in it, and what people are told when it does not fit."""

from __future__ import annotations

import time

import pytest

from config.errors import ConfigError
from config.repository import MOST_BYTES, PREVIEW, Limits, parse


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("text", [None, "", "# only a comment\n", "---\n", "~\n", "{}\n"])
def test_without_a_file_a_dockerfile_is_enough(text: str | None) -> None:
    config = parse(text)

    assert list(config.images) == ["app"]
    assert (config.images["app"].context, config.images["app"].dockerfile) == (".", "Dockerfile")
    assert list(config.environments) == ["production", PREVIEW]
    assert config.environments["production"].branch is None, "the default branch"
    assert config.environments["production"].limits == Limits(memory="512m", cpus=1.0, pids=512)


def test_what_is_left_out_of_a_file_keeps_its_default() -> None:
    config = parse("images:\n  web:\n    dockerfile: docker/web\n")

    assert config.images["web"].timeout == 1800
    assert list(config.environments) == ["production", PREVIEW]
    assert config.image_of(config.environments["production"]) == "web"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("image:\n  web: {}\n", ".blacktree.yml:1: image: there is no such key. Did you mean images?"),
        (
            "images:\n  web:\n    dockerfle: x\n",
            ".blacktree.yml:3: images.web.dockerfle: there is no such key. Did you mean dockerfile?",
        ),
        (
            "environments:\n  production:\n    helth: {}\n",
            ".blacktree.yml:3: environments.production.helth: there is no such key. Did you mean health?",
        ),
        (
            "environments:\n  production:\n    limits:\n      memry: 1g\n",
            ".blacktree.yml:4: environments.production.limits.memry: there is no such key. "
            "Did you mean memory?",
        ),
        (
            "environments:\n  production:\n    health:\n\n      pth: /\n",
            ".blacktree.yml:5: environments.production.health.pth: there is no such key. Did you mean path?",
        ),
        ("qqqq: 1\n", ".blacktree.yml:1: qqqq: there is no such key."),
    ],
)
def test_an_unknown_key_is_told_with_its_line_and_the_nearest(text: str, told: str) -> None:
    assert complaint(text) == told


def test_every_fault_has_its_own_line() -> None:
    said = complaint("images:\n  web:\n    timeout: 0\n    context: /etc\nenvironments:\n  Big: {}\n")

    lines = said.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [
        ".blacktree.yml:4",
        ".blacktree.yml:3",
        ".blacktree.yml:6",
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("images:\n  web: [\n", ".blacktree.yml:"),
        ("images:\n\tweb: {}\n", ".blacktree.yml:2:"),
        ("images: {}\nimages: {}\n", ".blacktree.yml:"),
        ("a: *nothing\n", ".blacktree.yml:1:"),
        ("a: 'never closed\n", ".blacktree.yml:"),
        ("{}\n---\n{}\n", ".blacktree.yml"),
        ("a: \0\n", ".blacktree.yml"),
        ("a: 2020-99-99\n", ".blacktree.yml"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_line(text: str, place: str) -> None:
    said = complaint(text)

    assert said.startswith(place)
    assert "\n" not in said


@pytest.mark.parametrize("text", ["- a\n- b\n", "just words\n", "42\n", "2020-01-01\n", "true\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert complaint(text).startswith(
        ".blacktree.yml:1: must be a mapping with the keys images, environments"
    )


@pytest.mark.parametrize(
    "text",
    [
        "1: 2\n",
        "? [a, b]\n: c\n",
        "images: 1\n",
        "images: [a]\n",
        "images: {}\n",
        "images: {? [a] : {}}\n",
        "images: &a {app: *a}\n",
        "environments: {production: {env: {a-b: x}}}\n",
        "environments: {production: {port: 0}}\n",
        "environments: {production: {limits: {cpus: .nan}}}\n",
        "environments: {production: {limits: {cpus: .inf}}}\n",
        "environments: {production: {health: {path: x}}}\n",
        "environments: !thing {production: {port: x}}\n",
        "images: {app: {timeout: 1e3}}\nenvironments: 3\n",
    ],
)
def test_odd_yaml_is_refused_and_breaks_nothing(text: str) -> None:
    assert complaint(text).startswith(".blacktree.yml")


@pytest.mark.parametrize("key", ["context", "dockerfile"])
@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b", "a/..", "'..'", "''", '"a\\0b"'])
def test_a_path_that_leaves_the_repository_is_refused(key: str, path: str) -> None:
    assert complaint(f"images:\n  web:\n    {key}: {path}\n").startswith(
        f".blacktree.yml:3: images.web.{key}: "
    )


@pytest.mark.parametrize("path", [".", "docker", "./a/b", "a b/ü", "..dockerfile", "a...b/c"])
def test_a_path_inside_is_kept(path: str) -> None:
    assert parse(f"images:\n  web:\n    context: {path}\n").images["web"].context == path


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512m", 512 * 1024**2),
        ("2g", 2 * 1024**3),
        ("2G", 2 * 1024**3),
        ("64mb", 64 * 1024**2),
        ("1048576k", 1024**3),
        ("'67108864'", 64 * 1024**2),
    ],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    config = parse(f"environments:\n  production:\n    limits:\n      memory: {text}\n")

    assert config.environments["production"].limits.memory_bytes == size


@pytest.mark.parametrize("text", ["much", "-1g", "1.5g", "1t", "''", "g", "1 g"])
def test_what_is_no_size_is_refused(text: str) -> None:
    said = complaint(f"environments:\n  production:\n    limits:\n      memory: {text}\n")

    assert said.startswith(".blacktree.yml:4: environments.production.limits.memory: ")


@pytest.mark.parametrize("text", ["0m", "'0'", "00g", "1k"])
def test_a_memory_limit_cannot_be_switched_off(text: str) -> None:
    complaint(f"environments:\n  production:\n    limits:\n      memory: {text}\n")


def test_anchors_aliases_and_merges_work() -> None:
    config = parse(
        "environments:\n"
        "  production: &base\n"
        "    port: &port 3000\n"
        "    env: &env {MODE: live, LEVEL: info}\n"
        "    limits: {memory: 1g}\n"
        "  staging:\n"
        "    <<: *base\n"
        "    branch: next\n"
        "    env:\n"
        "      <<: *env\n"
        "      MODE: test\n"
        "  preview:\n"
        "    port: *port\n"
        "    env: *env\n"
    )

    production, staging = config.environments["production"], config.environments["staging"]
    assert (staging.branch, staging.port, staging.limits.memory) == ("next", 3000, "1g")
    assert staging.env == {"MODE": "test", "LEVEL": "info"}
    assert config.environments["preview"].env == production.env == {"MODE": "live", "LEVEL": "info"}
    assert config.environments["preview"].port == 3000


def test_a_fault_in_what_was_merged_in_is_told() -> None:
    said = complaint("environments:\n  a: &a\n    prot: 1\n  b:\n    <<: *a\n")

    assert "environments.a.prot: there is no such key. Did you mean port?" in said


def test_an_environment_names_one_of_several_images() -> None:
    text = "images:\n  web: {{}}\n  jobs: {{}}\nenvironments:\n  production:\n    image: {}\n"

    config = parse(text.format("jobs"))
    assert config.image_of(config.environments["production"]) == "jobs"
    assert "there is no image job. Did you mean jobs?" in complaint(text.format("job"))


def test_with_several_images_an_environment_must_say_which() -> None:
    said = complaint("images:\n  web: {}\n  jobs: {}\nenvironments:\n  production: {}\n")

    assert "environments.production.image: say which of web, jobs it runs" in said


@pytest.mark.parametrize("name", ["UPPER", "-dash", "dash-", "a_b", "a b", "a" * 41, "é", "a/b", "''"])
def test_a_name_that_does_not_fit_is_refused(name: str) -> None:
    assert complaint(f"environments:\n  {name}: {{}}\n").startswith(".blacktree.yml:2: environments.")


def test_a_file_over_the_limit_is_refused_by_its_bytes() -> None:
    fits = "#" + "é" * ((MOST_BYTES - 2) // 2)

    assert parse(fits) == parse(None)
    assert complaint(fits + "éé") == f".blacktree.yml: is over {MOST_BYTES} bytes"


LAUGHS = "a0: &a0 [l, l, l, l, l, l, l, l, l, l]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        LAUGHS + "images: *a29\n",
        LAUGHS + "environments: {production: {command: *a29}}\n",
        LAUGHS.replace("[", "{<<: [").replace("]", "]}"),
        "[" * 60_000,
        "{a: " * 10_000,
        "- " * 30_000,
        "a: &a [*a, *a]\n",
        "images: {" + ", ".join(f"i{n}: {{}}" for n in range(5_000)) + "}\n",
    ],
    ids=["laughs", "images", "command", "merges", "deep", "maps", "dashes", "itself", "many"],
)
def test_a_file_made_to_exhaust_us_ends_quickly(text: str) -> None:
    started = time.process_time()

    said = complaint(text[:MOST_BYTES])

    assert time.process_time() - started < 5
    assert len(said) < 100_000
