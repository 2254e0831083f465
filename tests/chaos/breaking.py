"""How things go wrong, and how each is mended again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal

from tests.chaos.schedule import Act, Break, Wish
from tests.chaos.town import Town
from tests.github import Fault
from tests.instance import Process
from tests.parts.clock import Clock
from tests.parts.part import Part


class Breaking:
    """Does one break at a time to each part; what is broken already is left alone."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._busy: set[object] = set()

    async def do(self, act: Act) -> None:
        """From its begin to its end; returns when that is mended which it broke."""
        town = self._town
        match act.what:
            case Break.BOT_KILLED:
                await self._killed(town.bots[act.whom % len(town.bots)], act.lasts)
            case Break.BOT_FROZEN:
                await self._frozen(town.bots[act.whom % len(town.bots)], act.lasts)
            case Break.WORKER_KILLED:
                await self._killed(town.workers[act.whom % len(town.workers)], act.lasts)
            case Break.WORKER_FROZEN:
                await self._frozen(town.workers[act.whom % len(town.workers)], act.lasts)
            case Break.BROKER_RESTARTED | Break.BROKER_WIPED:
                await self._broker(wipe=act.what is Break.BROKER_WIPED)
            case Break.STORE_RESTARTED:
                await self._store(act.lasts)
            case Break.STORE_CUT:
                await town.stores[act.whom % len(town.stores)].cut()
            case Break.QUEUE_CUT:
                await town.queues[act.whom % len(town.queues)].cut()
            case Break.QUEUE_HELD:
                relay = town.queues[act.whom % len(town.queues)]
                relay.hold()
                await asyncio.sleep(act.lasts)
                relay.release()
            case Break.STORE_READS:
                await self._reads(act.lasts)
            case Break.WORKER_FULL:
                await self._full(town.workers[act.whom % len(town.workers)], act.lasts)
            case Break.BOT_FULL:
                await self._full(town.bots[act.whom % len(town.bots)], act.lasts)
            case Break.CLOCK_JUMPS:
                everybody = [*town.bots, *town.workers]
                await self._jumped(everybody[act.whom % len(everybody)], act.off, act.lasts)
            case Break.REGISTRY_AWAY:
                await self._away(town.registry, act.lasts)
            case Break.CADDY_KILLED:
                await self._away(town.caddy, act.lasts)
            case _:
                town.github.faults.add(_fault(act.what))

    async def _killed(self, process: Process, seconds: float) -> None:
        if self._taken(process):
            return
        await process.kill()
        await asyncio.sleep(seconds)
        await process.start()
        self._busy.discard(process)

    async def _frozen(self, process: Process, seconds: float) -> None:
        if self._taken(process):
            return
        os.kill(process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(process.pid, signal.SIGCONT)
        self._busy.discard(process)

    async def _broker(self, *, wipe: bool) -> None:
        broker = self._town.broker
        if self._taken(broker):
            return
        await asyncio.to_thread(broker.kill)
        if wipe:
            await asyncio.to_thread(shutil.rmtree, broker.folder / "mnesia")
        await asyncio.to_thread(broker.start)
        self._busy.discard(broker)

    async def _store(self, seconds: float) -> None:
        postgres = self._town.postgres
        if self._taken(postgres):
            return
        await asyncio.to_thread(postgres.stop)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(postgres.start)
        self._busy.discard(postgres)

    async def _reads(self, seconds: float) -> None:
        postgres, database = self._town.postgres, self._town.database
        if self._taken(postgres):
            return
        await asyncio.to_thread(postgres.reads_only, database)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(postgres.writes_again, database)
        self._busy.discard(postgres)

    async def _full(self, process: Process, seconds: float) -> None:
        disk = self._town.disk(process)
        if self._taken(disk):
            return
        await asyncio.to_thread(disk.fill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(disk.empty)
        self._busy.discard(disk)

    async def _jumped(self, process: Process, off: int, seconds: float) -> None:
        clock = self._town.clock(process)
        if self._taken(clock):
            return
        clock.off(off)
        await asyncio.sleep(seconds + Clock.HEARD)
        clock.off(0)
        self._busy.discard(clock)

    async def _away(self, part: Part, seconds: float) -> None:
        if self._taken(part):
            return
        await asyncio.to_thread(part.kill)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(part.start)
        self._busy.discard(part)

    def _taken(self, part: object) -> bool:
        if part in self._busy:
            return True
        self._busy.add(part)
        return False


def _fault(what: Break | Wish) -> Fault:
    """In which way GitHub fails."""
    match what:
        case Break.GITHUB_BROKEN:
            return Fault(path="/repos/", status=502, times=5)
        case Break.GITHUB_FORBIDS:
            return Fault.secondary_limit("/repos/", retry_after=2, times=3)
        case Break.GITHUB_HINTS:
            return Fault.secondary_limit("/repos/", retry_after=None)
        case Break.GITHUB_LIMITS:
            return Fault.secondary_limit("/statuses/", retry_after=3, status=429, times=3)
        case Break.GITHUB_SPENT:
            return Fault.primary_limit("/repos/", reset_in=3, times=2)
        case Break.GITHUB_PAGE:
            return Fault.html("/repos/", times=3)
        case Break.GITHUB_SLOW:
            return Fault.slow("/repos/", delay=4, times=5)
        case Break.GITHUB_LOSES:
            return Fault.lost("/repos/", times=2)
    raise AssertionError(f"nobody knows how: {what}")
