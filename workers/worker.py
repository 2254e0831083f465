"""The worker: its slots take, claim, execute and tell; it drains when it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from importlib import metadata
from typing import Any, TypeVar, cast
from uuid import uuid4

import structlog

from config.errors import ConfigError
from config.fields import size_bytes
from config.outages import Waits, answered
from config.settings import Settings
from workers.attempt import Attempt
from workers.contract.handed import Hand
from workers.contract.messages import AttemptRef, Cancel, Drain, Heartbeat, Order, ShellOrder, Take
from workers.contract.queue import QueueDown, WorkerQueue
from workers.deploy.shells import Shells
from workers.engine.builder import Builder
from workers.engine.engine import Engine, EngineDown, EngineRefused
from workers.engine.limits import own_limit
from workers.heartbeat import Heart, Key
from workers.registry.registries import Registries
from workers.running import Cause, Running
from workers.slot import Slot
from workers.source.mirrors import Mirrors
from workers.tools import Tools
from workers.upkeep import janitor
from workers.upkeep.room import Room
from workers.upkeep.wall import Wall

log = structlog.get_logger()

T = TypeVar("T")

_TODO = "start Docker, or set DOCKER_HOST to where it is"
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
        self._hand = Hand()
        self._told = asyncio.Event()
        self._now = asyncio.Event()
        self._admitted = asyncio.Event()

    def stop(self, *, now: bool = False) -> None:
        """Take nothing more and end when what runs has ended; with `now`, end it too."""
        self._told.set()
        self._draining.set()
        if now:
            self._now.set()

    async def run(self) -> None:
        """Work until stopped. Raises ConfigError if this machine cannot."""
        settings = self._settings
        with contextlib.closing(self._engine), janitor.alone(settings.worker, settings.data_dir):
            tools = await self._unless_stopped(self._ready())
            if tools is None:
                return
            wall = Wall(settings, self._engine)
            await wall.stand()
            labels = sorted({*settings.labels, await self._engine.architecture()})
            software = f"blacktree {_version()}, {await self._engine.about()}, {tools.builder.description}"
            log.info(
                "worker started",
                worker=settings.worker,
                queue=await self._connected(),
                engine=await self._engine.about(),
                builder=tools.builder.description,
                limits=tools.builder.limits,
                pool=settings.worker_pool,
                labels=labels,
                slots=settings.worker_slots,
            )
            room = Room(self._engine, settings.data_dir, size_bytes(settings.disk_free or "0"))
            heart = Heart(
                self._heartbeat(software, labels), tools, self._running, self._draining.is_set,
                settings.lease, room, self._admitted,
            )  # fmt: skip
            cleaning = janitor.Janitor(
                settings,
                self._engine,
                room,
                self._attempts,
                self._over,
                lambda: heart.needed,
                self._mirrors.prune,
            )
            shells = Shells(tools, self._instance, settings.data_dir / "shells", settings.exec_at_once)
            async with asyncio.TaskGroup() as tasks:
                slots = [
                    tasks.create_task(self._slot(tools, heart, room).run(), name=f"slot {number}")
                    for number in range(settings.worker_slots)
                ]
                services = [
                    tasks.create_task(heart.run(), name="heartbeat"),
                    tasks.create_task(self._orders(heart, shells), name="orders"),
                    tasks.create_task(shells.run(), name="shells"),
                    tasks.create_task(cleaning.run(), name="janitor"),
                    tasks.create_task(wall.run(), name="wall"),
                ]
                tasks.create_task(self._drained(slots, services, heart), name="drain")
            await wall.take_down()
            log.info("worker stopped", worker=settings.worker)

    async def _ready(self) -> Tools:
        """What jobs need, once the engine is there and what was left is gone. Raises ConfigError."""

        async def ready() -> Tools:
            await self._engine.about()
            tools = await self._tools()
            await janitor.sweep(self._settings.worker, self._settings.data_dir, self._engine, self._environ)
            return tools

        try:
            return await answered(Waits("the engine"), ready, _engine_away)
        except EngineRefused as error:
            raise ConfigError(f"{error}: {_TODO}") from None

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` gives; None if this worker is stopped before."""
        working, draining = asyncio.create_task(work), asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait({working, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (working, draining):
                task.cancel()
            await asyncio.gather(working, draining, return_exceptions=True)
        return None if working.cancelled() else working.result()

    async def _tools(self) -> Tools:
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
            build_proxies=self._settings.build_proxies,
        )

    async def _connected(self) -> str:
        try:
            return await self._queue.check()
        except QueueDown as error:
            return f"down: {error}"

    def _heartbeat(self, software: str, labels: list[str]) -> Heartbeat:
        return Heartbeat(
            worker=self._settings.worker,
            instance=self._instance,
            pool=self._settings.worker_pool,
            slots=self._settings.worker_slots,
            address=self._settings.worker_address,
            software=software,
            labels=labels,
        )

    def _slot(self, tools: Tools, heart: Heart, room: Room) -> Slot:
        return Slot(
            self._settings, tools, self._instance, self._running, self._over, self._draining,
            heart.beat_now, room, self._admitted, self._hand,
        )  # fmt: skip

    def _attempts(self) -> list[Attempt]:
        return [running.attempt for running in self._running.values()]

    async def _orders(self, heart: Heart, shells: Shells) -> None:
        while True:
            try:
                heard = cast(AsyncGenerator[Order], self._queue.orders(self._settings.worker))
                async with contextlib.aclosing(heard) as orders:
                    async for order in orders:
                        if isinstance(order, Cancel):
                            running = self._running.get((order.job, order.attempt))
                            if running is not None:
                                running.stop(Cause.CANCELLED)
                        elif isinstance(order, Take):
                            self._hand.put(order)
                        elif isinstance(order, ShellOrder):
                            shells.hear(order)
                        elif isinstance(order, Drain):
                            self._draining.set()
                        else:
                            heart.beat_now()
            except QueueDown as error:
                log.warning("orders are not heard", error=str(error))
            await asyncio.sleep(_AGAIN)

    async def _drained(
        self, slots: list[asyncio.Task[None]], services: list[asyncio.Task[None]], heart: Heart
    ) -> None:
        await self._draining.wait()
        limit = self._settings.shutdown if self._told.is_set() else "any"
        log.info("draining", running=len(self._running), seconds=limit)
        heart.beat_now()
        hurry = asyncio.create_task(self._hurried())
        try:
            ended = asyncio.gather(*slots)
            either: set[asyncio.Future[Any]] = {ended, hurry}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
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

    async def _hurried(self) -> None:
        """Until what runs has to end: some time after we were told to stop. Who is to drain has any time."""
        await self._told.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.shutdown):
                await self._now.wait()


def _engine_away(error: Exception) -> str:
    away = isinstance(error, EngineDown) and not isinstance(error, EngineRefused)
    return f"{error}: {_TODO}" if away else ""


def _version() -> str:
    try:
        return metadata.version("blacktree")
    except metadata.PackageNotFoundError:
        return "(not installed)"
