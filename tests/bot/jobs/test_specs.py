"""What a worker is told to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from bot.decisions.plan import push, stop_preview
from bot.jobs import specs
from bot.store.tables import Job, Release, Repository
from config.repository import parse
from config.settings import Settings
from workers.contract.messages import Credentials, Kind, Privileges

SHA = "a" * 40
CLONE = "https://github.com/acme/shop.git"


def repository(full_name: str = "acme/shop") -> Repository:
    return Repository(id=7, full_name=full_name, default_branch="main")


def jobs(file: str = "") -> list[Job]:
    known: dict[str, Any] = {"run_id": 1, "repository_id": 7, "sha": SHA, "pool": "default", "attempts": 3}
    return [
        Job(
            **known,
            id=f"1-{place}",
            kind=plan.kind,
            name=plan.name,
            environment=plan.environment,
            context=plan.context,
            spec=plan.spec,
        )
        for place, plan in enumerate(push(parse(file), "main", "main", SHA), start=1)
    ]


def test_a_build_is_of_the_exact_commit_with_the_files_settings() -> None:
    file = (
        "images: {web: {context: docker, dockerfile: docker/web, target: slim, args: {A: b}, timeout: 60}}\n"
    )

    spec = specs.build(jobs(file)[0], repository(), CLONE, Settings(registry="ghcr.io/acme"), "i")

    assert (spec.source.sha, spec.source.clone_url, spec.source.repository) == (SHA, CLONE, "acme/shop")
    assert (spec.context, spec.dockerfile, spec.target, spec.args) == (
        "docker",
        "docker/web",
        "slim",
        {"A": "b"},
    )
    assert (spec.reference, spec.tags, spec.push) == ("ghcr.io/acme/acme/shop", [SHA, "main"], True)
    assert spec.timeout == 60
    assert spec.labels["org.opencontainers.image.revision"] == SHA
    assert spec.labels["org.opencontainers.image.source"] == "https://github.com/acme/shop"
    assert spec.labels["io.blacktree.instance"] == "i"


def test_a_build_without_a_registry_stays_in_the_engine_and_within_the_instances_time() -> None:
    spec = specs.build(jobs()[0], repository(), CLONE, Settings(job_timeout=30), "i")

    assert (spec.push, spec.reference, spec.timeout) == (False, "blacktree/acme/shop", 30)


def test_a_deploy_has_its_limits_its_probe_and_knows_where_it_runs() -> None:
    place = "{port: 80, command: [run], env: {A: b}, health: {path: /up, timeout: 9}}"
    file = f"environments: {{production: {place}}}\n"
    job = jobs(file)[1]
    release = Release(
        id=5,
        environment_id=1,
        run_id=1,
        job_id=job.id,
        sha=SHA,
        image="shop@sha256:1",
        settings=job.spec,
        attempt=2,
    )

    spec = specs.deploy(job, repository(), release, Settings(), "bot1")

    assert (spec.release, spec.image, spec.pull, spec.environment) == (
        "bot1.5.2",
        "shop@sha256:1",
        False,
        "production",
    )
    assert (spec.port, spec.command) == (80, ["run"])
    assert spec.env == {"A": "b", "BLACKTREE_ENVIRONMENT": "production", "BLACKTREE_SHA": SHA}
    assert (spec.limits.memory, spec.limits.cpus, spec.limits.pids) == (512 * 1024**2, 1.0, 512)
    assert (spec.probe.path, spec.probe.timeout, spec.probe.interval) == ("/up", 9, 0.5)


def released(file: str, **settings: Any) -> tuple[Job, Release]:
    """A deploy job of a file, and its release; `settings` are changed in it, None takes one away."""
    job = jobs(file)[1]
    kept = {key: value for key, value in {**job.spec, **settings}.items() if value is not None}
    return job, Release(
        id=5, environment_id=1, run_id=1, job_id=job.id, sha=SHA, image="shop@sha256:1",
        settings=kept, attempt=2,
    )  # fmt: skip


def test_a_deploy_is_told_all_that_the_file_says_of_its_environment() -> None:
    place = (
        "{release_command: [migrate], release_timeout: 9, replicas: 3, volumes: {data: /data}, stability: 4,"
        " networks: [back], user: app, read_only: true, restart: on-failure, grace: 25, target: swarm,"
        " health: {kind: tcp, status: 204}}"
    )
    job, release = released(f"environments: {{production: {place}}}\n")

    spec = specs.deploy(job, repository(), release, Settings(), "bot1")

    assert (spec.release_command, spec.release_timeout, spec.replicas) == (["migrate"], 9, 3)
    assert spec.volumes == {"blacktree-bot1-7-production-data": "/data"}
    assert (spec.networks, spec.user, spec.read_only, spec.restart) == (["back"], "app", True, "on-failure")
    assert (spec.grace, spec.target, spec.stability) == (25, "swarm", 4)
    assert (spec.probe.kind, spec.probe.status) == ("tcp", 204)
    assert (spec.host_port, spec.serving, spec.privileges) == (None, None, Privileges())


def test_a_release_that_is_older_than_a_setting_is_as_if_it_were_left_out() -> None:
    young = ("release_command", "replicas", "volumes", "networks", "restart", "grace", "target", "stability")
    job, release = released("", **dict.fromkeys(young), health={"path": "/", "timeout": 9, "interval": 1})

    spec = specs.deploy(job, repository(), release, Settings(), "bot1")

    assert (spec.replicas, spec.restart, spec.grace, spec.probe.kind) == (1, "unless-stopped", 10, "http")


@pytest.mark.parametrize(("trusted", "given"), [("acme/*", True), ("other/*", False), ("", False)])
def test_only_a_trusted_repository_reaches_its_host_even_with_an_older_release(
    trusted: str, given: bool
) -> None:
    asked = {"host_mounts": ["/srv:/srv"], "privileged": True, "host_network": True}
    job, release = released("", **asked)

    spec = specs.deploy(job, repository(), release, Settings(trusted_repositories=trusted), "bot1")

    assert spec.privileges == (Privileges.model_validate(asked) if given else Privileges())


def test_without_a_proxy_a_deploy_knows_its_port_and_who_has_it() -> None:
    job, release = released("")
    serving = Release(id=4, environment_id=1, run_id=1, job_id="0-1", sha=SHA, image="shop", attempt=1)

    spec = specs.deploy(job, repository(), release, Settings(), "bot1", host_port=20001, serving=serving)

    assert (spec.host_port, spec.serving) == (20001, "bot1.4.1")


def test_a_stop_names_its_environment() -> None:
    job = Job(
        id="1-1", run_id=1, repository_id=7, sha=SHA, kind=Kind.STOP, name="pr-5", environment="pr-5",
        context="", pool="default", attempts=3,
    )  # fmt: skip

    assert specs.stop(job, repository(), "bot1").model_dump(include={"repository", "environment"}) == {
        "repository": "acme/shop",
        "environment": "pr-5",
    }


def test_a_closed_previews_stop_takes_its_volumes_and_any_other_keeps_them() -> None:
    closed = stop_preview(5)[0]
    job = Job(
        id="1-1", run_id=1, repository_id=7, sha=SHA, kind=Kind.STOP, name="pr-5", environment="pr-5",
        context="", pool="default", attempts=3,
    )  # fmt: skip

    assert not specs.stop(job, repository(), "bot1").volumes
    job.spec = closed.spec
    assert specs.stop(job, repository(), "bot1", "swarm").volumes
    assert specs.stop(job, repository(), "bot1", "swarm").target == "swarm"


def told(kind: Kind, settings: Settings, image: str = "", **spec: Any) -> Credentials:
    job = Job(
        id="1-1", run_id=1, repository_id=7, sha=SHA, kind=kind, name="app", context="", pool="default",
        attempts=3, spec=spec,
    )  # fmt: skip
    return specs.credentials(job, settings, git_password="token", build={"NPM": "s"}, images=[image])


LOGINS = Settings.model_validate(
    {
        "registry": "ghcr.io/acme", "registry_username": "ada", "registry_password": "pw",
        "registry_auths": '{"auths": {"quay.io": {"username": "bob", "password": "other"}}}',
    }
)  # fmt: skip
READS = LOGINS.model_copy(
    update={"registry_pull_username": "eva", "registry_pull_password": SecretStr("reads")}
)
SHOP = f"ghcr.io/acme/acme/shop@sha256:{'1' * 64}"


def test_a_build_has_the_clones_token_its_secrets_and_the_registries_logins() -> None:
    known = told(Kind.BUILD, LOGINS)

    assert (known.git_username, known.git_password) == ("x-access-token", "token")
    assert set(known.secrets()) == {"token", "pw", "other", "s"}
    assert [(login.host, login.username, login.password) for login in known.registries] == [
        ("quay.io", "bob", "other"), ("ghcr.io", "ada", "pw"),
    ]  # fmt: skip
    assert told(Kind.BUILD, Settings()).registries == []


@pytest.mark.parametrize(
    ("kind", "settings", "image", "spec", "passwords"),
    [
        (Kind.BUILD, READS, "", {"fork": True}, []),
        (Kind.DEPLOY, READS, SHOP, {"fork": True}, []),
        (Kind.DEPLOY, LOGINS, SHOP, {}, ["pw"]),
        (Kind.DEPLOY, READS, SHOP, {}, ["reads"]),
        (Kind.DEPLOY, READS, "ghcr.io/acme/shop@sha256:1", {}, ["reads"]),  # a name of before
        (Kind.DEPLOY, READS, "quay.io/acme/shop@sha256:1", {}, ["other"]),
        (Kind.DEPLOY, READS, "sha256:" + "1" * 64, {}, []),
        (Kind.STOP, READS, "", {}, []),
    ],
)
def test_a_job_has_no_login_that_it_does_not_need(
    kind: Kind, settings: Settings, image: str, spec: dict[str, Any], passwords: list[str]
) -> None:
    assert [login.password for login in told(kind, settings, image, **spec).registries] == passwords


def test_a_strangers_image_goes_to_no_registry_and_its_deploy_pulls_nothing() -> None:
    job = jobs()[0]
    job.spec = {**job.spec, "fork": True, "registries": ["ghcr.io/acme"]}

    spec = specs.build(job, repository(), CLONE, LOGINS, "i", "fork-5")

    assert (spec.push, spec.copies, spec.permitted) == (False, [], [])
    deploying, release = released("")
    release.image = "sha256:" + "1" * 64
    assert not specs.deploy(deploying, repository(), release, LOGINS, "i").pull
    release.image = "ghcr.io/acme/shop@sha256:1"
    assert specs.deploy(deploying, repository(), release, LOGINS, "i").pull
