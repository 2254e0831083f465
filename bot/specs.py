"""Pure: what a worker is told to do, from a job, its repository and the instance's settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from bot.store.tables import Job, Release, Repository
from config.fields import size_bytes
from config.settings import Settings
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    DeploySpec,
    ImageTest,
    Limits,
    Probe,
    RegistryLogin,
    Source,
    StopSpec,
)

# https://github.com/opencontainers/image-spec/blob/main/annotations.md
# https://pkg.go.dev/github.com/distribution/reference: path-component
_COMPONENT = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_OCI = "org.opencontainers.image"


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
    job: Job, repository: Repository, release: Release, settings: Settings, instance: str
) -> DeploySpec:
    """How a release is started."""
    spec, place = release.settings, job.environment or job.name
    limits, health = spec["limits"], spec["health"]
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
        probe=Probe(**{key: health[key] for key in ("path", "timeout", "interval")}),
        labels={},
    )


def stop(job: Job, repository: Repository, instance: str) -> StopSpec:
    """Which environment is removed."""
    environment = job.environment or job.name
    return StopSpec(instance=instance, repository=repository.full_name, environment=environment)


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
