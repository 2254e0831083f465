"""Checks of what a worker needs: engine, builder, queue, registry, disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from config.checks import Check
from config.fields import size_bytes
from config.registries import split
from config.settings import Settings
from workers.contract.messages import Credentials, RegistryLogin
from workers.contract.queue import QueueDown
from workers.contract.rabbitmq import RabbitQueue
from workers.disk import people
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown
from workers.engine.limits import own_limit
from workers.failure import Failure
from workers.registry import ecr
from workers.registry.patience import Patience
from workers.registry.registries import Registries
from workers.room import Room

_HASTE = Patience(tries=2)


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    yield await _engine()
    async for check in _builder(settings):
        yield check
    yield await _queue(settings)
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


async def _queue(settings: Settings) -> Check:
    if settings.queue_url.startswith("memory"):
        return Check("queue", True, "memory (for `blacktree up` only)")
    try:
        async with RabbitQueue.connected(settings.queue_url, prefix=settings.queue_prefix) as queue:
            return Check("queue", True, await queue.check())
    except QueueDown as error:
        return Check("queue", False, str(error), "start RabbitMQ, or correct BLACKTREE_QUEUE_URL")


async def _registries(settings: Settings) -> AsyncIterator[Check]:
    hosts = dict.fromkeys(split(prefix)[0] for prefix in settings.registries)
    hosts |= dict.fromkeys(login.host for login in settings.registry_logins)
    if not hosts:
        yield Check("registry", True, "none: images stay in the engine that built them (one worker only)")
    logins = [
        RegistryLogin(host=login.host, username=login.username, password=login.password)
        for login in settings.registry_logins
    ]
    registry = Registries(settings, _HASTE).of(Credentials(registries=logins))
    for host in hosts:
        try:
            yield Check("registry", True, f"{host} as {await registry.check(host)}")
        except Failure as failure:
            yield Check("registry", False, failure.sentence, _todo(host, settings))


def _todo(host: str, settings: Settings) -> str:
    if ecr.place(host):
        return "give this machine a role that may use ECR (docs/registries.md)"
    if settings.registry and split(settings.registry)[0] == host:
        return "correct BLACKTREE_REGISTRY, BLACKTREE_REGISTRY_USERNAME and BLACKTREE_REGISTRY_PASSWORD"
    return f"correct what BLACKTREE_REGISTRY_AUTHS and BLACKTREE_PUSH_REGISTRIES have for {host}"


async def _disk(settings: Settings) -> Check:
    least = size_bytes(settings.disk_free or "0")
    room = Room(DockerEngine(os.environ), settings.data_dir, least)
    try:
        await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
        with contextlib.suppress(EngineDown):  # told by its own check
            await room.places()
        free = await room.free()
    except OSError as error:
        todo = "set BLACKTREE_DATA_DIR to a folder that this user may write in"
        return Check("disk", False, f"{settings.data_dir}: {error.strerror}", todo)
    todo = f"free some: a job needs {people(least)} (BLACKTREE_DISK_FREE)"
    return Check("disk", free >= least, f"{people(free)} free for {settings.data_dir} and the engine", todo)
