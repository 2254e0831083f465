"""Pure: what a worker is told to do, from a job, its repository and the instance's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bot.jobs import awaiting, images, services, trusts
from bot.jobs.images import is_local
from bot.reports import texts
from bot.store.tables import Job, Release, Repository
from config.fields import size_bytes
from config.repository import Environment
from config.settings import Settings
from workers.contract.messages import (
    BuildSpec,
    Credentials,
    DeploySpec,
    ImageTest,
    Kind,
    Limits,
    PinSpec,
    Privileges,
    Probe,
    ProcessSpec,
    RegistryLogin,
    Source,
    StopSpec,
    TaskSpec,
)

# https://github.com/opencontainers/image-spec/blob/main/annotations.md
_OCI = "org.opencontainers.image"
_LEFT_OUT = Environment().model_dump(mode="json")


def build(
    job: Job,
    repository: Repository,
    clone_url: str,
    settings: Settings,
    instance: str,
    trust: str = trusts.TRUSTED,
) -> BuildSpec:
    """How an image of a commit is built. A stranger's goes to no registry: it stays where it was built."""
    spec = job.spec
    name = None if spec["only"] and trust == trusts.TRUSTED else job.name
    fork, bases = spec.get("fork", False), trusts.bases(repository, trust, settings)
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
        reference=trusts.reference(repository, name, settings.registry, trust),
        copies=[] if fork else _copies(spec, repository, name, settings, trust),
        tags=spec["tags"],
        push=bool(settings.registry) and not fork,
        **vars(bases),
        cache=spec.get("cache", True),
        pull=spec.get("pull", False),
        fresh=spec.get("fresh", False),
        fork=fork,
        timeout=min(float(spec["timeout"]), settings.job_timeout),
        labels={
            f"{_OCI}.source": clone_url.removesuffix(".git"),
            f"{_OCI}.revision": job.sha,
            f"{_OCI}.version": spec.get("version") or job.sha,
            "io.blacktree.repository": repository.full_name,
            "io.blacktree.instance": instance,  # whose images a worker may judge
        },
    )


def pin(job: Job, repository: Repository, settings: Settings) -> PinSpec:
    """Which image that is built elsewhere is looked for."""
    names = trusts.bases(repository, trusts.TRUSTED, settings)
    return PinSpec(reference=texts.awaits(job), stranger=bool(job.spec.get("fork")), **vars(names))


def _copies(
    spec: Mapping[str, Any], repository: Repository, image: str | None, settings: Settings, trust: str
) -> list[str]:
    """The further names of an image, where there is a registry at all."""
    prefixes = spec.get("registries") or [] if settings.registry else []
    names = (trusts.reference(repository, image, prefix, trust) for prefix in prefixes)
    return [name for name in names if name != trusts.reference(repository, image, settings.registry, trust)]


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
    told = {"BLACKTREE_ENVIRONMENT": place, "BLACKTREE_SHA": release.sha}
    volumes = {
        volume(instance, repository, place, name): path for name, path in sorted(spec["volumes"].items())
    }
    return DeploySpec(
        instance=instance,
        repository=repository.full_name,
        environment=place,
        release=release_name(instance, release),
        image=release.image,
        # What is built elsewhere has a registry, also where the instance has none.
        pull=(bool(settings.registry) and not any(map(is_local, images.of(release))))
        or bool(spec.get(awaiting.PULLS)),
        port=spec["port"],
        command=spec["command"],
        env={**spec["env"], **told},
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
        processes=[
            ProcessSpec.told(name, said, (release.images or {}).get(said["image"], release.image), told)
            for name, said in spec["processes"].items()
        ],
        tasks=len(spec["tasks"]),
    )


def task(job: Job, repository: Repository, release: Release, settings: Settings, instance: str) -> TaskSpec:
    """A task, and the release that it runs in."""
    return TaskSpec(
        name=job.name,
        command=job.spec["command"],
        timeout=min(float(job.spec["timeout"]), settings.job_timeout),
        process=job.spec["process"],
        release=deploy(job, repository, release, settings, instance),
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
        place=services.place(instance, repository.id, job.environment or job.name),
    )


def credentials(
    job: Job,
    settings: Settings,
    *,
    git_password: str = "",
    trust: str = "",
    build: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    images: Sequence[str] = (),
) -> Credentials:
    """What an attempt may know, which is what it needs: secrets of a build, or of its containers (`env`).

    A build pushes, and may start from anything that a login reaches; a stranger's does neither. A deploy or
    task reads its `images`. What is stopped needs nobody's login.
    """
    match job.kind:
        case Kind.BUILD if awaiting.awaited(job) and not job.spec.get("fork"):
            logins = settings.pull_logins(texts.awaits(job))  # that registry's, and no other's
        case Kind.BUILD if not job.spec.get("fork"):
            logins = settings.registry_logins
        case Kind.DEPLOY | Kind.TASK if not job.spec.get("fork"):
            logins = list(dict.fromkeys(one for image in images for one in settings.pull_logins(image)))
        case _:
            logins = []
    return Credentials(
        # https://docs.github.com/apps: any user name does with a token; this one is GitHub's own example.
        git_username="x-access-token" if git_password else "",
        git_password=git_password,
        registries=[
            RegistryLogin(host=login.host, username=login.username, password=login.password)
            for login in logins
        ],
        trust=trust,
        build=dict(build or {}),
        env=dict(env or {}),
    )


def release_name(instance: str, release: Release) -> str:
    """What the containers of a release's newest attempt are labelled with."""
    return release_label(instance, release.id, release.attempt)


def release_label(instance: str, release: int | None, attempt: int) -> str:
    """The same, by its numbers."""
    return f"{instance}.{release}.{attempt}"
