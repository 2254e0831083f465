"""The heartbeat: leases are renewed by it, and its answers say what must end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from workers.contract.messages import AttemptRef, ContainerState, Heartbeat, HeartbeatAnswer
from workers.contract.queue import QueueDown
from workers.deploy import network_name
from workers.disk import Needed
from workers.engine.engine import PREFIX, Container, EngineDown
from workers.room import Room
from workers.running import Cause, Running
from workers.tools import Tools

log = structlog.get_logger()

_LONGEST = 10.0  # seconds between two heartbeats
_LOOKING = 1.0  # seconds that the engine gets to list its containers for a heartbeat
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL for a release that has served
_GOODBYE = 2.0  # seconds

Key = tuple[str, int]


def key(ref: AttemptRef) -> Key:
    """What an attempt is found by."""
    return ref.job, ref.attempt


class Heart:
    """Beats until cancelled, and at once when there is news."""

    def __init__(
        self,
        base: Heartbeat,
        tools: Tools,
        running: Mapping[Key, Running],
        draining: Callable[[], bool],
        lease: float,
        room: Room,
    ) -> None:
        self._base = base
        self._tools = tools
        self._running = running
        self._draining = draining
        self._lease = lease
        self._room = room
        self.needed: Needed | None = None
        self._news = asyncio.Event()
        self._looking: asyncio.Task[list[Container]] | None = None
        self._seen: list[Container] = []
        self._retiring: set[str] = set()
        self._answered = True

    @property
    def interval(self) -> float:
        return min(self._lease / 6, _LONGEST)

    def beat_now(self) -> None:
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            try:
                while True:
                    self._news.clear()
                    await self._beat(tasks)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self.interval):
                            await self._news.wait()
            finally:
                looking, self._looking = self._looking, None
                if looking is not None:
                    looking.cancel()
                    await asyncio.gather(looking, return_exceptions=True)

    async def goodbye(self) -> None:
        """The last one: this worker is gone. The bot finds that out by itself if nobody hears."""
        with contextlib.suppress(QueueDown, TimeoutError):
            beat = await self._heartbeat(stopped=True)
            await self._tools.queue.request(beat, _GOODBYE)
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _beat(self, tasks: asyncio.TaskGroup) -> None:
        beat = await self._heartbeat()
        sent = asyncio.get_running_loop().time()
        try:
            answer = await self._tools.queue.request(beat, max(self._lease / 3, 0.5))
        except (QueueDown, TimeoutError) as error:
            if self._answered:
                log.warning("the bot does not answer heartbeats", error=str(error) or "time-out")
            self._answered = False
            return
        if not self._answered:
            log.info("the bot answers heartbeats again")
        self._answered = True
        if isinstance(answer, HeartbeatAnswer):
            self.needed = Needed(answer.instance, frozenset(answer.kept), sent)
            self._heed(answer, beat.attempts, sent, tasks)
        else:
            log.warning("heartbeat refused", answer=answer.model_dump())

    async def _heartbeat(self, *, stopped: bool = False) -> Heartbeat:
        await self._look()
        return self._base.model_copy(
            update={
                "draining": self._draining(),
                "stopped": stopped,
                "attempts": [running.ref for running in self._running.values() if not self._is_lost(running)],
                "containers": [_state(container) for container in self._seen],
                "disk_free": await self._room.free(),
                "problem": self._room.problem,
            }
        )

    @staticmethod
    def _is_lost(running: Running) -> bool:
        return running.cause is Cause.LOST

    async def _look(self) -> None:
        """List the containers; a slow engine delays no heartbeat, and is asked once at a time."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._tools.engine.containers({"worker": self._tools.worker}))
        await asyncio.wait({self._looking}, timeout=_LOOKING)
        if not self._looking.done():
            return
        done, self._looking = self._looking, None
        try:
            self._seen = done.result()
        except EngineDown as error:
            log.warning("the engine's containers are unknown", error=str(error))
        except Exception:
            log.exception("the engine's containers are unknown")

    def _heed(
        self, answer: HeartbeatAnswer, listed: list[AttemptRef], sent: float, tasks: asyncio.TaskGroup
    ) -> None:
        lost, cancelled = set(map(key, answer.lost)), set(map(key, answer.cancelled))
        for ref in map(key, listed):
            if ref not in self._running:
                continue
            if ref in lost:
                self._running[ref].stop(Cause.LOST)
                continue
            self._running[ref].renew(sent + answer.lease)
            if ref in cancelled:
                self._running[ref].stop(Cause.CANCELLED)
        starting = {running.release for running in self._running.values()}
        for release in set(answer.retired) - self._retiring - starting:
            self._retiring.add(release)
            tasks.create_task(self._retire(release))

    async def _retire(self, release: str) -> None:
        labels = {"worker": self._tools.worker, "release": release}
        try:
            for container in await self._tools.engine.containers(labels):
                await self._tools.engine.remove(container.id, _GRACE)
                log.info("removed a retired release's container", release=release, container=container.name)
                place = (container.labels.get(PREFIX + part, "") for part in ("repository", "environment"))
                await self._tools.engine.remove_network(network_name(self._tools.worker, *place))
        except Exception as error:
            log.warning("a retired release is not removed yet", release=release, error=str(error))
        finally:
            self._retiring.discard(release)
        self.beat_now()


def _state(container: Container) -> ContainerState:
    return ContainerState(
        release=container.labels.get(PREFIX + "release", ""),
        environment=container.labels.get(PREFIX + "environment", ""),
        running=container.running,
        restarts=container.restarts,
    )
