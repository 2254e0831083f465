"""The worker: its slots take, claim, execute and tell; it drains when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from importlib import metadata
from typing import Any, cast
from uuid import uuid4

import structlog

from config.errors import ConfigError
from config.fields import size_bytes
from config.settings import Settings
from workers import janitor
from workers.attempt import Attempt
from workers.contract.messages import AttemptRef, Cancel, Heartbeat, Order
from workers.contract.queue import QueueDown, WorkerQueue
from workers.engine.engine import Builder, Engine, EngineDown
from workers.engine.limits import own_limit
from workers.heartbeat import Heart, Key
from workers.mirrors import Mirrors
from workers.registry.registries import Registries
from workers.room import Room
from workers.running import Cause, Running
from workers.slot import Slot
from workers.tools import Tools

log = structlog.get_logger()

_AGAIN = 1.0  # seconds before orders are listened to again


class Worker:
    """One process's worth of slots."""

    def __init__(
        self,
        settings: Settings,
        queue: WorkerQueue,
        engine: Engine,
        builder: Callable[[], Awaitable[Builder]],
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._engine = engine
        self._find_builder = builder
        self._environ = environ
        self._mirrors = Mirrors(settings.data_dir / "mirrors", environ)
        self._instance = uuid4().hex
        self._running: dict[Key, Running] = {}
        self._over: set[AttemptRef] = set()
        self._draining = asyncio.Event()
        self._now = asyncio.Event()

    def stop(self, *, now: bool = False) -> None:
        """Take nothing more and end when what runs has ended; with `now`, end it too."""
        self._draining.set()
        if now:
            self._now.set()

    async def run(self) -> None:
        """Work until stopped. Raises ConfigError if this machine cannot."""
        settings = self._settings
        with contextlib.closing(self._engine), janitor.alone(settings.worker, settings.data_dir):
            tools = await self._tools()
            await janitor.sweep(settings.worker, settings.data_dir, self._engine, self._environ)
            software = f"blacktree {_version()}, {await self._engine.about()}, {tools.builder.description}"
            log.info(
                "worker started",
                worker=settings.worker,
                queue=await self._connected(),
                engine=await self._engine.about(),
                builder=tools.builder.description,
                limits=tools.builder.limits,
                pool=settings.worker_pool,
                slots=settings.worker_slots,
            )
            room = Room(self._engine, settings.data_dir, size_bytes(settings.disk_free or "0"))
            heart = Heart(
                self._heartbeat(software), tools, self._running, self._draining.is_set, settings.lease, room
            )
            cleaning = janitor.Janitor(
                settings,
                self._engine,
                room,
                self._attempts,
                self._over,
                lambda: heart.needed,
                self._mirrors.prune,
            )
            async with asyncio.TaskGroup() as tasks:
                slots = [
                    tasks.create_task(self._slot(tools, heart, room).run(), name=f"slot {number}")
                    for number in range(settings.worker_slots)
                ]
                services = [
                    tasks.create_task(heart.run(), name="heartbeat"),
                    tasks.create_task(self._orders(heart), name="orders"),
                    tasks.create_task(cleaning.run(), name="janitor"),
                ]
                tasks.create_task(self._drained(slots, services, heart), name="drain")
            log.info("worker stopped", worker=settings.worker)

    async def _tools(self) -> Tools:
        try:
            await self._engine.about()
        except EngineDown as error:
            raise ConfigError(f"{error}: start Docker, or set DOCKER_HOST to where it is") from None
        return Tools(
            worker=self._settings.worker,
            address=self._settings.worker_address,
            engine=self._engine,
            builder=await self._find_builder(),
            queue=self._queue,
            environ=self._environ,
            mirrors=self._mirrors,
            registries=Registries(self._settings),
            build_limit=own_limit(self._settings),
        )

    async def _connected(self) -> str:
        try:
            return await self._queue.check()
        except QueueDown as error:
            return f"down: {error}"

    def _heartbeat(self, software: str) -> Heartbeat:
        return Heartbeat(
            worker=self._settings.worker,
            instance=self._instance,
            pool=self._settings.worker_pool,
            slots=self._settings.worker_slots,
            address=self._settings.worker_address,
            software=software,
        )

    def _slot(self, tools: Tools, heart: Heart, room: Room) -> Slot:
        return Slot(
            self._settings, tools, self._instance, self._running, self._over, self._draining,
            heart.beat_now, room,
        )  # fmt: skip

    def _attempts(self) -> list[Attempt]:
        return [running.attempt for running in self._running.values()]

    async def _orders(self, heart: Heart) -> None:
        while True:
            try:
                heard = cast(AsyncGenerator[Order], self._queue.orders(self._settings.worker))
                async with contextlib.aclosing(heard) as orders:
                    async for order in orders:
                        if isinstance(order, Cancel):
                            running = self._running.get((order.job, order.attempt))
                            if running is not None:
                                running.stop(Cause.CANCELLED)
                        else:
                            heart.beat_now()
            except QueueDown as error:
                log.warning("orders are not heard", error=str(error))
            await asyncio.sleep(_AGAIN)

    async def _drained(
        self, slots: list[asyncio.Task[None]], services: list[asyncio.Task[None]], heart: Heart
    ) -> None:
        await self._draining.wait()
        log.info("draining", running=len(self._running), seconds=self._settings.shutdown)
        heart.beat_now()
        hurry = asyncio.create_task(self._now.wait())
        try:
            ended = asyncio.gather(*slots)
            either: set[asyncio.Future[Any]] = {ended, hurry}
            await asyncio.wait(either, timeout=self._settings.shutdown, return_when=asyncio.FIRST_COMPLETED)
            for running in self._running.values():
                running.stop(Cause.STOPPING)
            await ended
        finally:
            hurry.cancel()
            await asyncio.gather(hurry, return_exceptions=True)
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)
        await heart.goodbye()


def _version() -> str:
    try:
        return metadata.version("blacktree")
    except metadata.PackageNotFoundError:
        return "(not installed)"
