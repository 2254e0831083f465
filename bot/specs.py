"""Pure: what a worker is told to do, from a job, its repository and the instance's settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from bot.store.tables import Job, Release, Repository
from config.fields import size_bytes
from config.repository import Environment
from config.settings import Settings
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    DeploySpec,
    ImageTest,
    Limits,
    Privileges,
    Probe,
    RegistryLogin,
    Source,
    StopSpec,
)

# https://github.com/opencontainers/image-spec/blob/main/annotations.md
# https://pkg.go.dev/github.com/distribution/reference: path-component
_COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_OCI = "org.opencontainers.image"
_LEFT_OUT = Environment().model_dump(mode="json")


def build(job: Job, repository: Repository, clone_url: str, settings: Settings, instance: str) -> BuildSpec:
    """How an image of a commit is built."""
    spec = job.spec
    name = None if spec["only"] else job.name
    test, limits = spec.get("test"), spec.get("limits") or {}
    return BuildSpec(
        source=Source(
            repository=repository.full_name,
            clone_url=clone_url,
            sha=job.sha,
            **(spec.get("checkout") or {}),
        ),
        image=job.name,
        context=spec["context"],
        dockerfile=spec["dockerfile"],
        target=spec["target"],
        args=spec["args"],
        platforms=spec.get("platforms") or [],
        secrets=spec.get("secrets") or [],
        ssh=spec.get("ssh"),
        test=test and ImageTest(**test),
        memory=size_bytes(limits["memory"]) if limits.get("memory") else None,
        cpus=limits.get("cpus"),
        reference=reference(repository, name, settings.registry),
        copies=_copies(spec, repository, name, settings),
        tags=spec["tags"],
        push=bool(settings.registry),
        cache=spec.get("cache", True),
        pull=spec.get("pull", False),
        fresh=spec.get("fresh", False),
        fork=spec.get("fork", False),
        timeout=min(float(spec["timeout"]), settings.job_timeout),
        labels={
            f"{_OCI}.source": clone_url.removesuffix(".git"),
            f"{_OCI}.revision": job.sha,
            f"{_OCI}.version": spec.get("version") or job.sha,
            "io.blacktree.repository": repository.full_name,
            "io.blacktree.instance": instance,  # whose images a worker may judge
        },
    )


def _copies(
    spec: Mapping[str, Any], repository: Repository, image: str | None, settings: Settings
) -> list[str]:
    """The further names of an image, where there is a registry at all."""
    prefixes = spec.get("registries") or [] if settings.registry else []
    names = (reference(repository, image, prefix) for prefix in prefixes)
    return [name for name in names if name != reference(repository, image, settings.registry)]


def deploy(
    job: Job,
    repository: Repository,
    release: Release,
    settings: Settings,
    instance: str,
    *,
    host_port: int | None = None,
    serving: Release | None = None,
) -> DeploySpec:
    """How a release is started. `host_port` is its environment's for good, where there is no proxy.

    A release may be older than a setting: then the setting is as if it were left out.
    """
    spec, place = {**_LEFT_OUT, **release.settings}, job.environment or job.name
    limits, health = spec["limits"], {**_LEFT_OUT["health"], **spec["health"]}
    volumes = {
        volume(instance, repository, place, name): path for name, path in sorted(spec["volumes"].items())
    }
    return DeploySpec(
        instance=instance,
        repository=repository.full_name,
        environment=place,
        release=release_name(instance, release),
        image=release.image,
        pull=bool(settings.registry),
        port=spec["port"],
        command=spec["command"],
        env={**spec["env"], "BLACKTREE_ENVIRONMENT": place, "BLACKTREE_SHA": release.sha},
        limits=Limits(memory=limits["memory"], cpus=limits["cpus"], pids=limits["pids"]),
        probe=Probe(**{key: health[key] for key in Probe.model_fields}),
        stability=spec["stability"],
        labels={},
        target=spec["target"],
        replicas=spec["replicas"],
        release_command=spec["release_command"],
        release_timeout=spec["release_timeout"],
        volumes=volumes,
        networks=spec["networks"],
        user=spec["user"],
        read_only=spec["read_only"],
        restart=spec["restart"],
        grace=spec["grace"],
        privileges=_privileges(spec, repository, settings),
        host_port=host_port,
        serving=release_name(instance, serving) if serving else None,
    )


def volume(instance: str, repository: Repository, environment: str, name: str) -> str:
    """An environment's volume as the engine knows it: the same for all its releases, and for none else's."""
    return f"blacktree-{instance}-{repository.id}-{environment}-{name}"


def _privileges(spec: Mapping[str, Any], repository: Repository, settings: Settings) -> Privileges:
    """What a repository was given when its file was read, it has only while it is trusted."""
    if not settings.trusts(repository.full_name):
        return Privileges()
    return Privileges(**{key: spec[key] for key in Privileges.model_fields})


def stop(
    job: Job, repository: Repository, instance: str, target: Literal["containers", "swarm"] = "containers"
) -> StopSpec:
    """Which environment is removed. What only sleeps keeps its volumes."""
    return StopSpec(
        instance=instance,
        repository=repository.full_name,
        environment=job.environment or job.name,
        target=target,
        volumes=bool(job.spec.get("volumes")),
    )


def reference(repository: Repository, image: str | None, registry: str) -> str:
    """An image's name without a tag. `image` is None where the repository has only one."""
    if registry:
        return f"{registry.lower()}/{_component(repository.name)}{f'-{image}' if image else ''}"
    return "/".join(
        ["blacktree", *map(_component, repository.full_name.split("/")), *([image] if image else [])]
    )


def _component(name: str) -> str:
    """A part of a reference as Docker takes it; a name that had to be changed stays one of a kind."""
    if _COMPONENT.fullmatch(name.lower()):
        return name.lower()
    plain = "-".join(re.findall(r"[a-z0-9]+", name.lower())) or "repository"
    return f"{plain}-{hashlib.sha256(name.lower().encode()).hexdigest()[:6]}"


def credentials(
    settings: Settings, git_password: str, *, build: Mapping[str, str], env: Mapping[str, str]
) -> Credentials:
    """What an attempt may know: the secrets `build` of a build, or `env` of a release's containers."""
    logins = [
        RegistryLogin(host=login.host, username=login.username, password=login.password)
        for login in settings.registry_logins
    ]
    # https://docs.github.com/apps: any user name does with a token; this one is GitHub's own example.
    return Credentials(
        git_username="x-access-token",
        git_password=git_password,
        registries=logins,
        build=dict(build),
        env=dict(env),
    )


def release_name(instance: str, release: Release) -> str:
    """What the containers of a release's newest attempt are labelled with."""
    return f"{instance}.{release.id}.{release.attempt}"
