"""The keys of `.blacktree.yml` one by one: what fits, what is refused, and what a fork may change."""

from __future__ import annotations

import time

import pytest

from config.authority import strangers
from config.errors import ConfigError
from config.repository import Environment, Repository, forbidden, parse
from config.tags import Names, image_tags


def complaint(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    return str(caught.value)


def environment(keys: str) -> Environment:
    return parse(f"environments: {{production: {{{keys}}}}}\n").environments["production"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "images:\n  a:\n    test:\n      comand: [x]\n",
            "4: images.a.test.comand: there is no such key. Did you mean command?",
        ),
        (
            "environments:\n  a:\n    gates:\n      chekcs: true\n",
            "4: environments.a.gates.chekcs: there is no such key. Did you mean checks?",
        ),
        (
            "schedules:\n  - cron: 0 4 * * *\n    environment: production\n    brnch: a\n",
            "4: schedules.0.brnch: there is no such key. Did you mean branch?",
        ),
        (
            "notifications:\n  coment: no\n",
            "2: notifications.coment: there is no such key. Did you mean comment?",
        ),
    ],
)
def test_the_nearest_key_is_told_at_every_depth(text: str, told: str) -> None:
    assert f".blacktree.yml:{told}" in complaint(text).splitlines()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images: {a: {test: []}}", "images.a.test.command: "),
        ("images: {a: {platforms: [linux]}}", "images.a.platforms.0: "),
        ("images: {a: {tags: ['{nope}']}}", "images.a.tags.0: there is no {nope}. Known are branch, tag,"),
        ("images: {a: {tags: ['a b']}}", "images.a.tags.0: has characters that can't be there"),
        ("images: {a: {registries: ['https://ghcr.io']}}", "images.a.registries.0: "),
        ("images: {a: {secrets: [a-b]}}", "images.a.secrets.0: "),
        ("environments: {a: {ttl: soon}}", "environments.a.ttl: must be a time such as 30m, 72h or 3d"),
        ("environments: {a: {ttl: 366d}}", "environments.a.ttl: must be at most 365d"),
        ("environments: {a: {domain: '{sha}.x.y'}}", "environments.a.domain: there is no {sha}"),
        ("environments: {a: {domain: 'pr-{pr}.x.y'}}", "environments.a.domain: only preview has a {pr}"),
        (
            "environments: {preview: {domain: x.y}}",
            "environments.preview.domain: must have {pr} or {environment}",
        ),
        ("environments: {preview: {on: [push]}}", "environments.preview.on: "),
        ("environments: {a: {on: [pull_request]}}", "environments.a.on: pull_request reaches preview only"),
        ("environments: {a: {on: [pusch]}}", "environments.a.on.0: "),
        ("environments: {a: {volumes: {v: etc}}}", "environments.a.volumes.v: must be an absolute path"),
        ("environments: {a: {volumes: {v: /a/../b}}}", "environments.a.volumes.v: must be an absolute path"),
        (
            "environments: {a: {gates: {checks: 1}}}",
            "environments.a.gates.checks: must be true, false or a list",
        ),
        (
            "environments: {a: {gates: {checks: ['']}}}",
            "environments.a.gates.checks: must be true, false or a list",
        ),
        ("environments: {a: {gates: {up_to_date: yes}}}", "environments.a.gates.up_to_date: "),
        (
            "environments: {a: {}, b: {gates: {after: aa}}}",
            "environments.b.gates.after: there is no environment aa.",
        ),
        ("environments: {a: {gates: {after: a}}}", "environments.a.gates.after: goes round in a circle"),
        (
            "environments: {a: {gates: {after: b}}, b: {gates: {after: a}}}",
            "environments.b.gates.after: goes round in a circle: b, a, b",
        ),
        ("environments: {a: {}, preview: {gates: {after: a}}}", "environments.preview.gates.after: "),
        (
            "environments: {a: {gates: {after: preview}}, preview: {}}",
            "environments.a.gates.after: preview is",
        ),
        ("environments: {pr-7: {}}", "environments.pr-7: such names are those of pull requests' previews"),
        ("environments: {a: {deployers: ['@ada']}}", "environments.a.deployers.0: "),
        ("environments: {a: {replicas: 0}}", "environments.a.replicas: "),
        ("schedules: [{cron: '* * * *', environment: production}]", "schedules.0.cron: must be five fields"),
        (
            "schedules: [{cron: '99 * * * *', environment: production}]",
            "schedules.0.cron: must be five fields",
        ),
        (
            "schedules: [{cron: '0 4 * * *', environment: prod}]",
            "schedules.0.environment: there is no environment",
        ),
        ("schedules: [{cron: '0 4 * * *', environment: preview}]", "schedules.0.environment: preview is"),
        ("schedules: [{cron: '0 4 * * *'}]", "schedules.0.environment: "),
        ("retries: 11", "retries: "),
        ("concurrency: both", "concurrency: "),
        ("jobs: 0", "jobs: "),
        ("images: {a: {runs_on: [a+b]}}", "images.a.runs_on.0: must be a label"),
        ("environments: {a: {runs_on: [GPU]}}", "environments.a.runs_on.0: must be a label"),
        ("pool: two words", "pool: "),
    ],
)
def test_what_does_not_fit_is_refused_with_line_and_key(text: str, told: str) -> None:
    assert f".blacktree.yml:1: {told}" in complaint(text + "\n")


@pytest.mark.parametrize(
    "text",
    [
        "pool: " + "a" * 64,
        "environments: {a: {env: {A: " + "x" * 8193 + "}}}",
        "environments: {a: {command: [" + "x" * 4097 + "]}}",
        "environments: {a: {labels: [" + "x, " * 33 + "]}}",
        "images: {a: {paths: [" + "x, " * 65 + "]}}",
        "images: {a: {tags: [" + "x" * 129 + "]}}",
        'environments: {a: {command: ["a\\0b"]}}',
    ],
)
def test_every_size_is_bounded(text: str) -> None:
    assert complaint(text + "\n").startswith(".blacktree.yml:1: ")


def test_faults_that_keys_make_together_are_all_told_with_their_lines() -> None:
    said = complaint("environments:\n  a: {image: nope}\n  b:\n    gates:\n      after: c\n")

    assert [line.partition(": ")[0] for line in said.splitlines()] == [".blacktree.yml:2", ".blacktree.yml:5"]


def test_a_top_level_key_for_anchors_is_no_fault() -> None:
    config = parse("x-env: &env {A: b}\nenvironments:\n  production: {env: *env}\n")

    assert config.environments["production"].env == {"A": "b"}
    assert "there is no such key" in complaint("environments: {production: {x-env: 1}}\n")


def test_a_bomb_of_aliases_behind_a_key_for_anchors_is_refused_quickly() -> None:
    lines = ["x-a0: &a0 [l, l, l, l, l, l, l, l, l, l]"]
    lines += [f"x-a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    merges = (
        "x-a: &a {" + ", ".join(f"k{n}: 1" for n in range(2000)) + "}\nx-b: {<<: [" + "*a," * 3000 + "]}\n"
    )
    long = "x-a: &a " + "l" * 60_000 + "\nx-b: [" + "*a, " * 10 + "]\n"
    started = time.process_time()

    for text in ("\n".join(lines), merges, long):
        assert "aliases" in complaint(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("keys", "branch", "reached"),
    [
        ("", "main", True),
        ("", "next", False),
        ("branch: next", "next", True),
        ("branch: next", "main", False),
        ("branches: [release/*]", "release/1", True),
        ("branches: [release/*]", "main", False),
        ("branches: [release/*], branch: next", "next", True),
        ("tags: [v*]", "main", False),
        ("tags: [v*], branch: main", "main", True),
        ("on: [tag]", "main", False),
        ("on: [command]", "main", False),
        ("on: []", "main", False),
        ("branches: ['**']", "any/branch", True),
        ("branches: ['**']", "gh-readonly-queue/main/pr-1-0123", False),
        ("branch: gh-readonly-queue/main/pr-1-0123", "gh-readonly-queue/main/pr-1-0123", False),
    ],
)
def test_a_push_reaches_an_environment(keys: str, branch: str, reached: bool) -> None:
    assert environment(keys).takes_push(branch, "main") is reached


@pytest.mark.parametrize(
    ("keys", "tag", "release"),
    [
        ("", False, False),
        ("tags: [v*]", True, False),
        ("tags: [w*]", False, False),
        ("on: [tag]", True, False),
        ("on: [release]", False, True),
        ("on: [release], tags: [w*]", False, False),
        ("on: [release, tag], tags: [v*]", True, True),
    ],
)
def test_a_tag_and_a_release_reach_an_environment(keys: str, tag: bool, release: bool) -> None:
    assert environment(keys).takes_tag("v1.2.3") is tag
    assert environment(keys).takes_release("v1.2.3") is release


@pytest.mark.parametrize(
    ("paths", "files", "touched"),
    [
        ("", ["a"], True),
        ("", [], True),
        ("web", ["web/a/b.py", "x"], True),
        ("web", ["website/a"], False),
        ("'**/*.go'", ["a/b.go"], True),
        ("'**/*.go', Dockerfile", ["Dockerfile"], True),
        ("web", [], False),
    ],
)
def test_an_image_is_touched_by_files(paths: str, files: list[str], touched: bool) -> None:
    assert parse(f"images: {{a: {{paths: [{paths}]}}}}\n").images["a"].touched(files) is touched


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("72h", 259_200), ("3d", 259_200)])
def test_a_preview_stays_for_a_span(text: str, seconds: int) -> None:
    assert environment(f"ttl: {text}").ttl_seconds == seconds


def test_a_list_is_short_for_a_test() -> None:
    short, whole = parse("images: {a: {test: [ls]}}\n"), parse("images: {a: {test: {command: [ls]}}}\n")

    assert short == whole
    assert short.images["a"].test is not None
    assert (short.images["a"].test.network, short.images["a"].test.timeout) == (False, 600)


SHA = "0123456789" * 4


@pytest.mark.parametrize(
    ("template", "names", "made"),
    [
        ("{branch}", {"branch": "feature/ü x"}, ["feature-x"]),
        ("{branch}", {}, []),
        ("{tag}", {"tag": "v1.2.3"}, ["v1.2.3"]),
        ("{version}", {"tag": "v1.2.3"}, ["1.2.3"]),
        ("{minor}", {"tag": "v1.2.3"}, ["1.2"]),
        ("{major}", {"tag": "1.2.3"}, ["1"]),
        ("{major}", {"tag": "v2.0.0-rc.1"}, []),
        ("{version}", {"tag": "v2.0.0-rc.1"}, ["2.0.0-rc.1"]),
        ("{version}", {"tag": "nightly"}, []),
        ("pr-{pr}", {"pr": 7}, ["pr-7"]),
        ("{short_sha}", {}, [SHA[:7]]),
        ("{branch}", {"branch": "日本"}, ["branch"]),
        ("{branch}", {"branch": "b" * 300}, ["b" * 128]),
        ("latest", {}, ["latest"]),
        # What is not merged moves no tag that is another's.
        ("latest", {"pr": 7}, []),
        ("{branch}", {"pr": 7, "branch": "latest"}, []),
        ("{short_sha}", {"pr": 7}, []),
        ("at-{sha}", {"pr": 7}, [f"at-{SHA}"]),
        ("latest", {"queued": True}, []),
        ("at-{sha}", {"queued": True}, [f"at-{SHA}"]),
    ],
)
def test_a_template_makes_a_valid_tag_or_none(
    template: str, names: dict[str, object], made: list[str]
) -> None:
    named = Names(SHA, "main", default_branch=names.get("branch"), **names)  # type: ignore[arg-type]
    assert image_tags([template], named) == [SHA, *made]


BASE = """
images:
  app: {context: ., tags: [latest], registries: [ghcr.io/acme], secrets: [TOKEN], timeout: 60, paths: [src]}
  jobs: {dockerfile: jobs/Dockerfile}
environments:
  production: {image: app, gates: {approval: true}, secrets: [KEY]}
fork_pool: strangers
retries: 1
"""
HEAD = """
images:
  app: {context: web, dockerfile: D, target: t, args: {A: b}, test: [ls], paths: [web], tags: [evil],
        registries: [evil.example], secrets: [STOLEN], timeout: 86400, platforms: [linux/arm64],
        ssh: STOLEN, runs_on: [gpu], cache: false, pull: true, limits: {memory: 99g, cpus: 64}}
  evil: {from: evil.example/app, tag: ["{branch}", "{sha}"], check: theirs}
  followed: {from: evil.example/app, tag: stable, follow: "* * * * *"}
environments:
  production: {image: app, privileged: true, host_network: true, secrets: [STOLEN]}
checkout: {depth: 9, submodules: true, lfs: true, sparse: [web]}
pool: production
fork_pool: production
retries: 10
jobs: 9
concurrency: queue
schedules: [{cron: "* * * * *", environment: production}]
notifications: {statuses: false}
logs: {drain: "https://evil.example"}
"""


def test_a_fork_says_only_how_images_of_the_base_are_built() -> None:
    base, head = parse(BASE), parse(HEAD)

    merged = strangers(base, head)

    own = {"context", "dockerfile", "target", "args", "test", "paths"}
    assert merged.images["app"].model_dump(include=own) == head.images["app"].model_dump(include=own)
    assert merged.images["app"].model_dump(exclude=own) == base.images["app"].model_dump(exclude=own)
    assert merged.images["jobs"] == base.images["jobs"]
    assert set(merged.images) == {"app", "jobs"}
    instead = HEAD.replace("  app: {", "  was: {").replace("  evil: {", "  app: {")
    theirs = strangers(base, parse(instead.replace("  followed: {", "  jobs: {"))).images
    assert {name: image.source for name, image in theirs.items()} == {"app": None, "jobs": None}
    assert merged.model_dump(exclude={"images"}) == base.model_dump(exclude={"images"})


def test_every_key_of_an_image_and_of_the_file_is_either_the_forks_or_the_bases() -> None:
    # A new key must be put on one side on purpose: this test then has it in HEAD.
    head = parse(HEAD)
    said = {key for image in head.images.values() for key in image.model_fields_set}
    assert said == set(type(head.images["app"]).model_fields)
    assert head.model_fields_set == set(Repository.model_fields)


@pytest.mark.parametrize(
    ("registry", "pushes", "refused"),
    [
        ("ghcr.io/acme", ["ghcr.io/acme"], False),
        ("ghcr.io/acme", ["docker.io/acme", "ghcr.io/acme"], False),
        ("ghcr.io/acme/shop", ["docker.io/acme", "ghcr.io/acme"], True),
        ("ghcr.io/acmeevil", ["ghcr.io/acme"], True),
        ("ghcr.io", ["ghcr.io/acme"], True),
        ("ghcr.io/acme", [], True),
    ],
)
def test_a_repository_pushes_only_where_the_instance_lets_it(
    registry: str, pushes: list[str], refused: bool
) -> None:
    config = parse(f"images: {{app: {{registries: [{registry}]}}}}\n")

    said = forbidden(config, trusted=True, pushes=pushes)

    assert [registry in line and "PUSH_REGISTRIES" in line for line in said] == ([True] if refused else [])


@pytest.mark.parametrize(
    ("keys", "asked"),
    [
        ("", []),
        ("host_mounts: []", []),
        ("privileged: true", ["privileged"]),
        ("host_network: true", ["host_network"]),
        ("host_mounts: ['/:/host']", ["host_mounts"]),
        ("privileged: true, host_network: true", ["privileged", "host_network"]),
    ],
)
def test_only_a_trusted_repository_has_the_host(keys: str, asked: list[str]) -> None:
    config = parse(f"environments: {{production: {{{keys}}}}}\n")

    assert forbidden(config, trusted=True) == []
    said = forbidden(config, trusted=False)
    assert [sentence.split(": ")[1].rpartition(".")[2] for sentence in said] == asked
