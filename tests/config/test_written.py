"""What people write by habit into a `.blacktree.yml` is taken as meant, or they are told what to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import app
from config.errors import ConfigError
from config.repository import Environment, Repository, parse
from tests.cost import cost

_PATIENCE = 0.25  # seconds of a processor: 50 ms on a machine five times as slow as it need be
MOST = 65_536


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def environment(keys: str) -> Environment:
    return parse(f"environments:\n  production:\n{keys}").environments["production"]


def test_numbers_and_switches_are_variables_as_they_are_written() -> None:
    env = environment(
        "    env: {PORT: 3000, DEBUG: true, VERSION: 1.10, MASK: 0o17, RATE: 1e3, DAY: 2026-11-27}\n"
    ).env

    assert env == {
        "PORT": "3000",
        "DEBUG": "true",
        "VERSION": "1.10",
        "MASK": "0o17",
        "RATE": "1e3",
        "DAY": "2026-11-27",
    }


def test_nothing_after_a_key_is_an_empty_mapping_or_list() -> None:
    config = parse(
        "images:\n  app:\nenvironments:\n  production:\n    env:\n    labels:\n    health:\n  preview:\n"
    )

    assert config == parse("images: {app: {}}\nenvironments: {production: {}, preview: {}}\n")


@pytest.mark.parametrize("text", ["images:\n", "images: {}\n", "images: ~\n"])
def test_no_image_at_all_is_refused(text: str) -> None:
    assert complaint(text) == ".blacktree.yml:1: images: must have at least one entry"


def test_nothing_where_a_value_must_be_is_told() -> None:
    said = complaint("environments:\n  production:\n    replicas:\n    env:\n      A:\n")

    assert said.splitlines() == [
        ".blacktree.yml:5: environments.production.env.A: has no value: write one, or leave the key out",
        ".blacktree.yml:3: environments.production.replicas: has no value: write one, or leave the key out",
    ]


@pytest.mark.parametrize(
    ("keys", "key", "value"),
    [
        ("branch: 1.10", "branch", "1.10"),
        ("branch: 2026", "branch", "2026"),
        ("on: push", "on", ["push"]),
        ("on: [push, tag]", "on", ["push", "tag"]),
        ("branches: release/**", "branches", ["release/**"]),
        ("tags: v*", "tags", ["v*"]),
        ("secrets: DATABASE_URL", "secrets", ["DATABASE_URL"]),
        ("deployers: octocat", "deployers", ["octocat"]),
        ("labels: 42", "labels", ["42"]),
        ("port: '8080'", "port", 8080),
        ("user: 1000", "user", "1000"),
        ("restart: no", "restart", "no"),
        ("read_only: yes", "read_only", True),
        ("command: ./serve", "command", ["./serve"]),
        ("command: ./serve --name 'a b'", "command", ["./serve", "--name", "a b"]),
        ("release_command: npm run migrate", "release_command", ["npm", "run", "migrate"]),
        ("health: {path: /ok, status: '204'}", "health", {"path": "/ok", "status": 204}),
    ],
)
def test_what_can_mean_one_thing_only_is_taken(keys: str, key: str, value: Any) -> None:
    assert getattr(environment(f"    {keys}\n"), key) == getattr(
        Environment.model_validate({key: value}), key
    )


def test_a_single_schedule_or_freeze_needs_no_list() -> None:
    config = parse(
        "schedules: {cron: 0 4 * * mon, environment: production}\n"
        "environments: {production: {freeze: {cron: 0 16 * * 5, lasts: 63h}}}\n"
    )

    assert config.schedules[0].environment == "production"
    assert config.environments["production"].freeze[0].lasts == "63h"


@pytest.mark.parametrize("text", ["npm test", "[npm, test]", "{command: npm test}"])
def test_a_test_may_be_one_line(text: str) -> None:
    test = parse(f"images: {{app: {{test: {text}}}}}\n").images["app"].test

    assert test is not None
    assert test.command == ["npm", "test"]


@pytest.mark.parametrize(
    "command", ["npm ci && npm test", "./serve > log", "./serve $PORT", "PORT=1 ./serve", "a; b"]
)
def test_a_line_that_only_a_shell_reads_is_told_with_the_list_to_write(command: str) -> None:
    said = complaint(f"environments: {{production: {{command: '{command}'}}}}\n")

    assert f'no shell reads it: write a list, such as [sh, -c, "{command}"]' in said
    suggested = said.partition("such as ")[2]
    assert environment(f"    command: {suggested}\n").command == ["sh", "-c", command]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "environments:\n  Production: {}\n",
            "2: environments.Production: must have small letters, digits and",
        ),
        (
            "environments:\n  a:\n    domain: https://www.example.com/\n",
            "3: environments.a.domain: must be a host name alone: write www.example.com",
        ),
        (
            "environments:\n  a:\n    domain: www.example.com:8443\n",
            "3: environments.a.domain: must be a host name alone: the proxy's ports are the instance's",
        ),
        (
            "environments:\n  a:\n    domain: www..example\n",
            "3: environments.a.domain: must be a host name, such",
        ),
        ("environments:\n  a:\n    port: web\n", "3: environments.a.port: must be a whole number"),
        (
            "environments:\n  a:\n    limits: {cpus: many}\n",
            "3: environments.a.limits.cpus: must be a number",
        ),
        (
            "environments:\n  a:\n    limits: 2\n",
            "3: environments.a.limits: must be a mapping: keys with their",
        ),
        ("environments:\n  a:\n    read_only: maybe\n", "3: environments.a.read_only: must be true or false"),
        (
            "environments:\n  a:\n    env: [A=b]\n",
            "3: environments.a.env: must be a mapping: keys with their",
        ),
        ("environments:\n  a:\n    env: {A: [b]}\n", "3: environments.a.env.A: must be a text"),
        ("environments:\n  a:\n    env: {A-B: c}\n", "3: environments.a.env.A-B: must be a variable's name"),
        ("environments:\n  a:\n    on: pusch\n", "3: environments.a.on.0: must be 'push', 'tag', "),
        ("environments:\n  a:\n    replicas: 101\n", "3: environments.a.replicas: must be at most 100"),
        (
            "environments:\n  a:\n    branch: release/*\n",
            "3: environments.a.branch: must be a branch's name; globs",
        ),
        ("schedules:\n  - cron: 0 4 * * *\n", "2: schedules.0.environment: is missing: write it"),
    ],
)
def test_what_does_not_fit_is_told_in_words_that_say_what_to_write(text: str, told: str) -> None:
    assert complaint(text).startswith(f".blacktree.yml:{told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images:\n\tapp:\n", "2: is not YAML: a tab, or one of @ ` % that YAML keeps for itself"),
        ("pool: @big\n", "1: is not YAML: a tab, or one of @ ` % that YAML keeps for itself"),
        ("images:\n  app: [\n", "2: is not YAML: "),
        ("a: b: c\n", "1: is not YAML: a colon stands where none can"),
        ("images:\n  app:\n   a: 1\n  b: 2\n c: 3\n", "5: is not YAML: the indentation does not fit"),
        ("pool: 'big\nretries: 3\n", "1: is not YAML: a quote is not closed"),
        ("images: [\nretries: 3\n", "1: is not YAML: a [ or { is not closed, or a comma is missing"),
        ('pool: "\\d"\n', "1: is not YAML: there is no such escape between double quotes"),
        ("pool: \x07\n", "1: is not YAML: a control character: remove it"),
        ("images: {}\nimages: {}\n", "2: images stands twice: keep one of them"),
        ("pool: *big\n", "1: there is no anchor &big above *big"),
        ("images: &a {app: *a}\n", "1: *a stands inside of what it names"),
        ("x-a: &a [*a]\nimages: *a\n", "1: *a stands inside of what it names"),
        ("{}\n---\n{}\n", "2: is a second document"),
        ("? [a]\n: b\n", "1: a list or a mapping is no key"),
        ("<<: 1\n", "1: << takes the name of a mapping"),
        (
            "pool: !!python/object/apply:os.system [id]\n",
            "1: the tag tag:yaml.org,2002:python/object/apply:os.system",
        ),
        ("pool: !ruby/object {}\n", "1: the tag !ruby/object means nothing here: remove it"),
        ("pool: !!binary aGk=\n", "1: the tag tag:yaml.org,2002:binary means nothing here: remove it"),
        ("[" * 500, "1: is nested too deeply: 32 levels at most"),
    ],
)
def test_what_is_not_yaml_is_told_in_our_words(text: str, told: str) -> None:
    said = complaint(text)

    assert said.startswith(f".blacktree.yml:{told}")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            r'headers: {X-A: "b\r\nSet-Cookie: c"}',
            "headers.X-A: must be one line, without control characters",
        ),
        (
            "headers: {Host: example.com}",
            "headers.Host: can't be added to every answer: it belongs to requests",
        ),
        (
            "headers: {LOCATION: /}",
            "headers.LOCATION: can't be added to every answer: every answer would lead away",
        ),
        (
            "headers: {server: mine}",
            "headers.server: can't be added to every answer: the proxy says who it is",
        ),
        (
            "headers: {Transfer-Encoding: chunked}",
            "headers.Transfer-Encoding: can't be added to every answer",
        ),
        ("headers: {X A: b}", "headers.X A: must be a header's name"),
        ("volumes: {a: /proc}", "volumes.a: is the kernel's or the engine's own"),
        ("volumes: {a: //proc/../proc}", "volumes.a: must be an absolute path"),
        ("volumes: {a: //proc/sys}", "volumes.a: is the kernel's or the engine's own"),
        ("volumes: {a: /sys/./fs}", "volumes.a: is the kernel's or the engine's own"),
        ("volumes: {a: /var/lib/docker}", "volumes.a: is the kernel's or the engine's own"),
        ("volumes: {a: /var/run/docker.sock}", "volumes.a: is the kernel's or the engine's own"),
        ("volumes: {a: '/data:ro'}", "volumes.a: must be an absolute path in the container, without a colon"),
        ("volumes: {a: /data, b: /data}", "volumes: two of them are at /data"),
        (r'health: {path: "/a b"}', "health.path: must be a path that begins with /"),
        (r'health: {path: "/a\r\nX: b"}', "health.path: must be a path that begins with /"),
        ("host_mounts: /data", "host_mounts.0: must be HOST:CONTAINER or HOST:CONTAINER:ro"),
        ("host_mounts: /data:/proc:ro", "host_mounts.0: is the kernel's or the engine's own"),
        ("user: --privileged", "user: must be a user"),
        ("branch: --all", "branch: must be a branch's name"),
    ],
)
def test_what_cannot_be_meant_of_an_environment_is_refused(keys: str, told: str) -> None:
    assert complaint(f"environments: {{a: {{{keys}}}}}\n").startswith(
        f".blacktree.yml:1: environments.a.{told}"
    )


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("dockerfile: '-'", "dockerfile: must be a path in the repository"),
        ("dockerfile: https://example.com/Dockerfile", "dockerfile: must be a path in the repository"),
        ("context: --output", "context: must be a path in the repository"),
        ("target: --secret", "target: must be the name of a stage"),
        ("target: '-'", "target: must be the name of a stage"),
        (
            "registries: HTTPS://ghcr.io/acme",
            "registries.0: must be a registry in small letters without https://",
        ),
    ],
)
def test_what_cannot_be_meant_of_an_image_is_refused(keys: str, told: str) -> None:
    assert complaint(f"images: {{a: {{{keys}}}}}\n").startswith(f".blacktree.yml:1: images.a.{told}")


@pytest.mark.parametrize("path", ["/data", "/srv/proc", "/process", "/var", "/run", "/development"])
def test_a_volume_beside_those_folders_is_fine(path: str) -> None:
    assert environment(f"    volumes: {{a: {path}}}\n").volumes == {"a": path}


@pytest.mark.parametrize(
    "cron", ["0 4 * * 7", "0 4 * * 5-7", "0 4 * * mon,5", "0 4 13 * 5", "*/15 9-17 * * MON-FRI", "0 0 29 2 *"]
)
def test_cron_is_taken_as_cron_has_it(cron: str) -> None:
    assert parse(f"schedules: {{cron: '{cron}', environment: production}}\n").schedules[0].cron == cron


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        (
            "0 4 * *",
            "must be five fields of cron: minute, hour, day of month, month, day of week; this has 4",
        ),
        ("0 0 4 * * *", "must be five fields of cron: "),
        ("@daily", "must be five fields of cron: "),
        ("0 24 * * *", "must be five fields of cron: 24 is no hour"),
        ("0 4 * * 8", "must be five fields of cron: 8 is no day of week"),
        ("0 4 * * friday", "must be five fields of cron: friday is no day of week"),
        ("0 4 L * *", "must be five fields of cron: L is no day of month"),
        ("0 4 * * 5#2", "must be five fields of cron: 5#2 is no day of week"),
        ("*/0 * * * *", "must be five fields of cron: */0 is no minute"),
        ("0 0 31 4 *", "would never come: none of its months has such a day"),
        ("0 0 30 2 *", "would never come: none of its months has such a day"),
        ("0 0 31 4,6,9,11 *", "would never come: none of its months has such a day"),
    ],
)
def test_a_cron_that_is_none_or_never_comes_is_refused(cron: str, told: str) -> None:
    freeze = f"environments: {{production: {{freeze: [{{cron: '{cron}', lasts: 365d}}]}}}}\n"

    assert complaint(freeze).startswith(f".blacktree.yml:1: environments.production.freeze.0.cron: {told}")


def shared(keys: str, environments: int = 32) -> str:
    """A file whose environments all have the same keys, by aliases."""
    names = "".join(f"  e{number}: *x\n" for number in range(environments))
    return f"x-x: &x\n{keys}environments:\n{names}"[:MOST]


HOSTILE = {
    "brackets": "[" * 2_000,
    "a list of many": "[" + "a," * 32_000,
    "unknown keys": "".join(f"imag{number}: v\n" for number in range(3_900)),
    "long unknown keys": "".join(f"images{'x' * 50}{number}: v\n" for number in range(900)),
    "merges": "x-a: &a {"
    + ", ".join(f"k{n}: 1" for n in range(2_000))
    + "}\nx-b: {<<: ["
    + "*a," * 3_000
    + "]}\n",
    "freezes": shared("  freeze:\n" + "    - {cron: '0 0 29 2 */7', lasts: 365d}\n" * 32),
    "freezes that never come": shared(
        "".join(["  freeze:\n", *(f"    - {{cron: '{n} 0 31 2 *', lasts: 365d}}\n" for n in range(32))])
    ),
    "odd freezes": shared(
        "  freeze:\n" + f"    - {{cron: '{','.join(['1'] * 40)} * * * x', lasts: 1d}}\n" * 32
    ),
    "variables": shared("  env: {" + ",".join(f"A{number}: b" for number in range(240)) + "}\n"),
    "odd variables": shared("  env: {" + ",".join(f"A-{number}: b" for number in range(240)) + "}\n"),
    "globs": "images: {a: {paths: [" + ",".join(["'" + "**/a*" * 51 + "'"] * 64) + "]}}",
    "quotes": shared('  command: "' + "'" * 8_000 + '"\n'),
    "dots": shared('  domain: "' + "a." * 120 + '"\n'),
    "order": "environments:\n"
    + "".join(f"  e{n}: {{gates: {{after: e{(n + 1) % 32}}}}}\n" for n in range(32)),
    "digits": f"retries: {'9' * 60_000}\n",
    "steps up": f"images: {{a: {{context: {'../' * 20_000}}}}}\n",
    "an anchor at each": " ".join(f"&a{number}" for number in range(9_000)),
    "stairs": "".join(f"{' ' * number}a:\n" for number in range(350)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_file_that_a_stranger_wrote_is_read_or_refused_at_once(text: str) -> None:
    def said() -> str:
        try:
            parse(text[:MOST])
        except ConfigError as error:
            return str(error)
        return ""

    assert cost(said) < _PATIENCE
    assert len(said().splitlines()) <= 51


@pytest.mark.parametrize(
    ("globs", "path"),
    [
        (["**/a*" * 51] * 64, "a" * 255),
        (["**/a*" * 51] * 64, "a/" * 2_000),
        (["*a?" * 85] * 64, "ab" * 2_000),
        (["*" * 255] * 64, "a" * 4_000),
    ],
)
def test_many_globs_over_many_long_names_take_no_time(globs: list[str], path: str) -> None:
    image = Repository.model_validate({"images": {"a": {"paths": globs}}}).images["a"]

    assert cost(lambda: image.touched([path] * 40)) < _PATIENCE


def test_a_change_that_is_too_long_to_compare_counts_as_touching() -> None:
    image = Repository.model_validate({"images": {"a": {"paths": ["web/**"]}}}).images["a"]

    assert not image.touched(["api/" + "a" * 40_000])
    assert image.touched(["api/" + "a" * 60_000])


def test_the_check_on_the_command_line_tells_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / ".blacktree.yml"
    file.write_text(
        "environments:\n  Production:\n    freeze: {cron: 0 0 31 4 *, lasts: 1d}\n    headers: {Host: a}\n"
    )

    result = CliRunner().invoke(app, ["config", "check", str(file)])

    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.output.splitlines()] == [
        "environments.Production",
        "environments.Production.headers.Host",
        "environments.Production.freeze.0.cron",
    ]
