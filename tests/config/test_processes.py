"""The processes of an environment: short forms, what each inherits, whose word counts, what does not fit."""

from __future__ import annotations

import pytest

from config.authority import governed, misnamed, unheard
from config.errors import ConfigError
from config.hosts import Rules
from config.processes import Meant, processes, unroutable
from config.repository import Repository, parse

SHOP = """
images: {web: {context: web}, api: {}}
environments:
  production:
    image: api
    port: 8000
    command: [serve]
    env: {LEVEL: info}
    health: {path: /ok, timeout: 9}
    limits: {memory: 256m}
    replicas: 3
    grace: 20
    processes:
      web: {image: web, port: 3000, domain: www.example.com, replicas: 1}
      api: {port: 8000, path: /api/}
      worker: celery -A shop worker
      clock: {command: [clock], overlap: false, env: {LEVEL: debug}, limits: {cpus: 2}, grace: 1, replicas: 1}
"""


def meant(text: str, environment: str = "production") -> dict[str, Meant]:
    config = parse(text)
    place = config.environments[environment]
    return {one.name: one for one in processes(place, config.image_of(place))}


def test_a_process_has_what_its_environment_says_but_for_what_it_says_itself() -> None:
    found = meant(SHOP)
    web, api, worker, clock = (found[name] for name in ("web", "api", "worker", "clock"))
    assert (web.image, web.port, web.domain, web.path, web.replicas) == (
        "web",
        3000,
        "www.example.com",
        "",
        1,
    )
    assert web.command is None, "another image's command is none of this one's"
    assert (api.image, api.command, api.path, api.replicas) == ("api", ["serve"], "/api", 3)
    assert api.domain == "www.example.com", "its environment has that of web"
    assert (worker.command, worker.port, worker.served) == (["celery", "-A", "shop", "worker"], None, False)
    assert (worker.env, worker.grace, worker.overlap) == ({"LEVEL": "info"}, 20, True)
    assert (clock.env, clock.grace, clock.overlap) == ({"LEVEL": "debug"}, 1, False)
    assert (clock.limits.memory, clock.limits.cpus) == ("256m", 2)


@pytest.mark.parametrize(
    ("environment", "process", "kind", "path"),
    [
        ("{path: /ok}", "web: {}", "http", "/ok"),
        ("{path: /ok}", "web: {health: {path: /up}}", "http", "/up"),
        ("{}", "web: {health: {kind: tcp}}", "tcp", "/"),
        ("{}", "worker: {}", "up", "/"),
        ("{kind: image}", "worker: {}", "up", "/"),
        ("{kind: image}", "web: {}", "image", "/"),
        ("{kind: image}", "web: {image: other}", "http", "/"),
        ("{command: [ok]}", "web: {health: {kind: tcp}}", "tcp", "/"),
        ("{}", "worker: {health: {kind: image}}", "image", "/"),
        ("{}", "worker: {health: {command: check it}}", "command", "/"),
        ("{}", "internal: {port: 9000}", "http", "/"),
    ],
)
def test_what_listens_is_asked_and_what_does_not_has_to_stay_up(
    environment: str, process: str, kind: str, path: str
) -> None:
    [one] = meant(
        "images: {app: {}, other: {}}\n"
        f"environments: {{production: {{image: app, health: {environment}, processes: {{{process}}}}}}}"
    ).values()
    assert (one.health.kind, one.health.path) == (kind, path)
    assert (one.health.command is None) is (kind != "command")


def test_all_images_of_an_environment_are_built_and_its_own_is_left_out_where_each_process_names_one() -> (
    None
):
    config = parse(SHOP)
    assert config.images_of(config.environments["production"]) == ["api", "web"]
    named = (
        "images: {a: {}, b: {}}\nenvironments: {production: {processes: {web: {image: b}, w: {image: a}}}}"
    )
    assert parse(named).images_of(parse(named).environments["production"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("production", "told"),
    [
        (
            "{processes: {web: {prot: 1}}}",
            "production.processes.web.prot: there is no such key. Did you mean port?",
        ),
        ("{processes: {web: {image: ap}}}", "processes.web.image: there is no image ap. Did you mean app?"),
        ("{processes: {web: {}, api: {path: /a?b}}}", "processes.api.path: must be a path such as /api"),
        ("{processes: {web: {}, api: {path: /}}}", "processes.api.path: must be a path such as /api"),
        ("{processes: {api: {path: /a}, b: {path: /A}}}", "processes.b: /A is api's already"),
        ("{domain: a.b, processes: {web: {}, b: {domain: a.b}}}", "processes.b: every path is web's already"),
        ("{processes: {web: {overlap: false}}}", "processes.web.overlap: visitors reach it"),
        ("{processes: {w: {health: {kind: http}}}}", "processes.w.health.kind: http asks a port"),
        ("{target: swarm, processes: {web: {}}}", "production.processes: a swarm's service has one process"),
        ("{target: swarm, health: {kind: up}}", "health.kind: a swarm's tasks are asked by http, tcp"),
        ("{processes: {w: {health: {kind: command}}}}", "processes.w.health: kind: command and a `command`"),
        ("{processes: {w: {domain: pr-{pr}.b}}}", "only preview has a {pr}"),
        ("{processes: {W: {}}}", "must have small letters"),
    ],
)
def test_what_does_not_fit_is_told_with_its_key(production: str, told: str) -> None:
    text = "images: {app: {}}\nenvironments:\n  production: " + production.replace("pr-{pr}.b", "'pr-{pr}.b'")
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert told in str(error.value)
    assert str(error.value).startswith(".blacktree.yml:3: ")


def test_a_previews_process_needs_a_host_name_of_each_previews_own() -> None:
    with pytest.raises(ConfigError, match=r"must have \{pr\} or \{environment\}"):
        parse("environments: {preview: {processes: {web: {}, docs: {domain: docs.example.com}}}}")


def test_one_of_several_images_is_named_where_something_runs_in_the_environments_own() -> None:
    images = "images: {a: {}, b: {}}\nenvironments: {production: "
    parse(images + "{processes: {web: {image: a}}}}")
    for more in ("processes: {web: {image: a}, w: {}}", "release_command: x, processes: {web: {image: a}}"):
        with pytest.raises(ConfigError, match="say which of a, b it runs"):
            parse(images + f"{{{more}}}}}")


def commits(processes: str) -> tuple[Repository, Repository]:
    ruling = parse(
        """
        images: {app: {}, safe: {secrets: [TOKEN]}}
        environments:
          production: {image: app, processes: {web: {domain: www.example.com}, safe: {image: safe}}}
        """
    )
    own = "images: {app: {}, safe: {}, own: {dockerfile: D}}\nenvironments: {production: {image: app, "
    return ruling, parse(f"{own}processes: {processes}}}}}")


def test_a_commit_says_which_processes_run_but_not_at_which_host_names_nor_in_which_given_images() -> None:
    ruling, own = commits(
        "{web: {domain: evil.example.com, command: [a]}, new: {image: own}, steal: {image: safe},"
        " b: {domain: b.c}}"
    )

    heard = governed(ruling, own).environments["production"].processes

    assert {name: (one.domain, one.image) for name, one in heard.items()} == {
        "web": ("www.example.com", None), "new": (None, "own"), "steal": (None, None), "b": (None, None),
    }  # fmt: skip
    assert heard["web"].command == ["a"]
    assert unheard(ruling, own) == [
        "environments.production.processes.web.domain",
        "environments.production.processes.b.domain",
        "environments.production.processes.steal.image",
    ]


def test_the_images_of_processes_that_only_the_default_branch_knows_are_built_too() -> None:
    ruling = parse("images: {a: {}, b: {}}\nenvironments: {x: {image: a, processes: {web: {image: b}}}}")
    made = governed(ruling, parse("images: {c: {}}\nenvironments: {production: {}}"))
    assert set(made.images_of(made.environments["x"])) == {"a", "b"}
    assert {"a", "b"} < set(made.images)


def test_a_processs_host_name_has_to_be_the_repositorys() -> None:
    config = parse("environments: {production: {processes: {web: {}, docs: {domain: docs.other.com}}}}")
    [told] = misnamed(config, "acme/shop", Rules(owners=[("other.com", "other/*")]))
    assert told.startswith(".blacktree.yml: environments.production.processes.docs.domain: ")


def test_without_a_proxy_nobody_tells_visitors_apart_by_host_or_path() -> None:
    told = dict(unroutable(parse(SHOP)))
    assert list(told) == ["environments.production.processes.api"]
    assert "PROXY=none" in told["environments.production.processes.api"]
