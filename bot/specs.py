"""Pure: what a worker is told to do, from a job, its repository and the instance's settings."""

from __future__ import annotations

import hashlib
import re

from bot.store.tables import Job, Release, Repository
from config.settings import Settings
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    DeploySpec,
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
    return BuildSpec(
        source=Source(repository=repository.full_name, clone_url=clone_url, sha=job.sha),
        image=job.name,
        context=spec["context"],
        dockerfile=spec["dockerfile"],
        target=spec["target"],
        args=spec["args"],
        reference=reference(repository, None if spec["only"] else job.name, settings.registry),
        tags=spec["tags"],
        push=bool(settings.registry),
        timeout=min(float(spec["timeout"]), settings.job_timeout),
        labels={
            f"{_OCI}.source": clone_url.removesuffix(".git"),
            f"{_OCI}.revision": job.sha,
            "io.blacktree.repository": repository.full_name,
            "io.blacktree.instance": instance,  # whose images a worker may judge
        },
    )


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


def credentials(settings: Settings, git_password: str) -> Credentials:
    """What an attempt may know."""
    logins = []
    if settings.registry_password:
        host = settings.registry.partition("/")[0]
        password = settings.registry_password.get_secret_value()
        logins.append(RegistryLogin(host=host, username=settings.registry_username, password=password))
    # https://docs.github.com/apps: any user name does with a token; this one is GitHub's own example.
    return Credentials(git_username="x-access-token", git_password=git_password, registries=logins)


def release_name(instance: str, release: Release) -> str:
    """What the containers of a release's newest attempt are labelled with."""
    return f"{instance}.{release.id}.{release.attempt}"
