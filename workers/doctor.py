"""Checks of what a worker needs: engine, builder, queue, registry, disk."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator

from config.checks import Check
from config.settings import Settings
from workers.contract.queue import QueueDown
from workers.contract.rabbitmq import RabbitQueue
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown
from workers.engine.limits import own_limit
from workers.registry.oci import RegistryError, log_in

ENOUGH_DISK = 5 * 10**9  # bytes: a build of a large image and its cache


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    yield await _engine()
    async for check in _builder(settings):
        yield check
    yield await _queue(settings)
    yield await _registry(settings)
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


async def _registry(settings: Settings) -> Check:
    if not settings.registry:
        return Check("registry", True, "none: images stay in the engine that built them (one worker only)")
    host = settings.registry.partition("/")[0]
    password = settings.registry_password.get_secret_value() if settings.registry_password else ""
    try:
        await log_in(host, settings.registry_username, password)
    except RegistryError as error:
        todo = "correct BLACKTREE_REGISTRY, BLACKTREE_REGISTRY_USERNAME and BLACKTREE_REGISTRY_PASSWORD"
        return Check("registry", False, str(error), todo)
    return Check("registry", True, f"{settings.registry} as {settings.registry_username or 'anybody'}")


async def _disk(settings: Settings) -> Check:
    try:
        await asyncio.to_thread(settings.data_dir.mkdir, parents=True, exist_ok=True)
        free = (await asyncio.to_thread(shutil.disk_usage, settings.data_dir)).free
    except OSError as error:
        todo = "set BLACKTREE_DATA_DIR to a folder that this user may write in"
        return Check("disk", False, f"{settings.data_dir}: {error.strerror}", todo)
    found = f"{free / 1e9:.1f} GB free in {settings.data_dir}"
    return Check("disk", free >= ENOUGH_DISK, found, f"free some: {ENOUGH_DISK / 1e9:.0f} GB at least")
