"""Checks of what a worker needs: engine, builder, queue, registry, disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from config.checks import Check
from config.errors import ConfigError
from config.fields import size_bytes
from config.registries import split
from config.settings import Settings
from workers.contract import broker_address, credential
from workers.contract.failure import Failure
from workers.contract.messages import Claim, Credentials, RegistryLogin
from workers.contract.queue import Outcast, QueueDown
from workers.contract.rabbitmq import RabbitWorker
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown
from workers.engine.limits import own_limit
from workers.registry import ecr
from workers.registry.patience import Patience
from workers.registry.registries import Registries
from workers.upkeep.disk import people
from workers.upkeep.room import Room
from workers.upkeep.wall import NoWall, Wall

_PATIENCE = 20.0  # seconds for the broker and the bot together
_HASTE = Patience(tries=2)


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    yield await _engine()
    async for check in _builder(settings):
        yield check
    yield await _wall(settings)
    async for check in _queue(settings):
        yield check
    async for check in _registries(settings):
        yield check
    yield await _disk(settings)


async def _engine() -> Check:
    try:
        return Check("engine", True, await DockerEngine(os.environ).about())
    except EngineDown as error:
        todo = "start Docker (systemctl start docker), or set DOCKER_HOST to an engine that you may use"
        return Check("engine", False, str(error), todo)


async def _builder(settings: Settings) -> AsyncIterator[Check]:
    builder = await find_builder(os.environ, "blacktree-doctor-", own_limit(settings))
    if "classic" in builder.description:
        todo = "install docker buildx: without BuildKit there are no build secrets and less caching"
        yield Check("BuildKit", False, f"none; images are built by {builder.description}", todo)
    else:
        yield Check("BuildKit", True, builder.description)
    # No fault: a laptop's engine in a virtual machine builds well, if not within limits.
    yield Check("build limits", True, builder.limits)


async def _wall(settings: Settings) -> Check:
    # No fault: a laptop's worker is not root. What builds and containers reach then, docs/deploys.md says.
    with contextlib.closing(DockerEngine(os.environ)) as engine:
        try:
            await Wall(settings, engine).possible()
        except (NoWall, EngineDown) as error:
            return Check("firewall", True, f"none: containers and builds reach private addresses: {error}")
    return Check("firewall", True, "containers and builds reach the internet, and no private address")


async def _queue(settings: Settings) -> AsyncIterator[Check]:
    if settings.queue_url.startswith("memory"):
        yield Check("queue", True, "memory (for `blacktree up` only)")
        return
    if settings.worker_credential is None:
        yield Check("credential", True, "none: no worker can run here until `blacktree workers add`")
        return
    try:
        async with asyncio.timeout(_PATIENCE):
            yield await _known(settings)
    except TimeoutError:
        todo = "start the bot, with the same BLACKTREE_QUEUE_URL and BLACKTREE_QUEUE_PREFIX"
        yield Check("queue", False, "the bot has not been at this RabbitMQ, or does not answer", todo)
    except QueueDown as error:
        yield Check("queue", False, str(error), broker_address.todo(error))


async def _known(settings: Settings) -> Check:
    """Whether the bot takes this worker's word: it claims a job that there is not, which changes nothing."""
    try:
        _, known = credential.of(settings)
        url, prefix, trusted = (
            settings.queue_url,
            settings.queue_prefix,
            broker_address.Certificates.of(settings),
        )
        async with RabbitWorker.connected(url, known, prefix, certificates=trusted) as queue:
            found = f"{await queue.check()}, as worker {known.name} of pool {known.pool}"
            claim = Claim(job="", worker=known.name, instance="doctor", nonce="", public_key="")
            await queue.request(claim, _PATIENCE)
    except (ConfigError, Outcast) as error:
        todo = "set BLACKTREE_WORKER_CREDENTIAL to what `blacktree workers add` gave for this worker"
        return Check("credential", False, str(error), todo)
    return Check("queue", True, found)


async def _registries(settings: Settings) -> AsyncIterator[Check]:
    hosts = dict.fromkeys(split(prefix)[0] for prefix in settings.registries)
    hosts |= dict.fromkeys(login.host for login in settings.registry_logins)
    if not hosts:
        yield Check("registry", True, "none: images stay in the engine that built them (one worker only)")
    logins = [
        RegistryLogin(host=login.host, username=login.username, password=login.password)
        for login in settings.registry_logins
    ]
    for host in hosts:
        yield await _registry(settings, host, logins)
    if settings.registry_pull_password:
        host, password = split(settings.registry)[0], settings.registry_pull_password.get_secret_value()
        reads = RegistryLogin(host=host, username=settings.registry_pull_username, password=password)
        yield await _registry(settings, host, [reads])


async def _registry(settings: Settings, host: str, logins: list[RegistryLogin]) -> Check:
    registry = Registries(settings, _HASTE).of(Credentials(registries=logins))
    try:
        return Check("registry", True, f"{host} as {await registry.check(host)}")
    except Failure as failure:
        return Check("registry", False, failure.sentence, _todo(host, settings))


def _todo(host: str, settings: Settings) -> str:
    if ecr.account_of(host):
        return "give this machine a role that may use ECR (docs/registries.md)"
    if settings.registry and split(settings.registry)[0] == host:
        return (
            "correct BLACKTREE_REGISTRY, BLACKTREE_REGISTRY_USERNAME and BLACKTREE_REGISTRY_PASSWORD, and"
            " BLACKTREE_REGISTRY_PULL_USERNAME and BLACKTREE_REGISTRY_PULL_PASSWORD where they are set"
        )
    return f"correct what BLACKTREE_REGISTRY_AUTHS and BLACKTREE_PUSH_REGISTRIES have for {host}"


async def _disk(settings: Settings) -> Check:
    least = size_bytes(settings.disk_free or "0")
    room = Room(DockerEngine(os.environ), settings.data_dir, least)
    try:
        await asyncio.to_thread(settings.data_dir.mkdir, mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(EngineDown):  # told by its own check
            await room.places()
        free = await room.free()
    except OSError as error:
        todo = "set BLACKTREE_DATA_DIR to a folder that this user may write in"
        return Check("disk", False, f"{settings.data_dir}: {error.strerror}", todo)
    todo = f"free some: a job needs {people(least)} (BLACKTREE_DISK_FREE)"
    return Check("disk", free >= least, f"{people(free)} free for {settings.data_dir} and the engine", todo)
