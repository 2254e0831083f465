"""The heartbeat: leases are renewed by it, and its answers say what must end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

import structlog

from workers.contract.messages import AttemptRef, DeploySpec, Heartbeat, HeartbeatAnswer, StopSpec, edition
from workers.contract.queue import Outcast, QueueDown
from workers.deploy import names, networks, services, swarm
from workers.deploy.outputs import Outputs
from workers.deploy.samples import Samples
from workers.deploy.watch import Watch
from workers.engine.engine import PREFIX
from workers.running import Cause, Running
from workers.tools import Tools
from workers.upkeep.disk import Needed
from workers.upkeep.room import Room

log = structlog.get_logger()

_LONGEST = 10.0  # seconds between two heartbeats
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
        admitted: asyncio.Event,
    ) -> None:
        """`admitted` is set while the bot takes this worker's word."""
        self._base = base
        self._tools = tools
        self._running = running
        self._draining = draining
        self._lease = lease
        self._room = room
        self._admitted = admitted
        self.needed: Needed | None = None
        self._news = asyncio.Event()
        self._watch = Watch(tools, self.interval, self.beat_now, self._standing_aside)
        self._outputs = Outputs(tools, lambda: self._watch.found)
        self._samples = Samples(tools, lambda: self._watch.found)
        self._retiring: set[str] = set()
        self._retired: set[str] = set()  # of services, which go back to the release before
        self._answered = True
        self._outcast = ""
        self._kept: frozenset[str] = frozenset()
        self._edition = ""  # of these; empty before the first

    @property
    def interval(self) -> float:
        return min(self._lease / 6, _LONGEST)

    def beat_now(self) -> None:
        self._news.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch.run(), name="watch")
            tasks.create_task(self._outputs.run(), name="outputs")
            tasks.create_task(self._samples.run(), name="samples")
            # What is not known is not told as if it were gone; a slow engine delays no later heartbeat.
            await self._within(self._watch.looked, self._lease / 3)
            while True:
                self._news.clear()
                await self._beat(tasks)
                await self._within(self._news, self.interval)

    @staticmethod
    async def _within(event: asyncio.Event, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await event.wait()

    async def goodbye(self) -> None:
        """The last one: this worker is gone. The bot finds that out by itself if nobody hears."""
        with contextlib.suppress(QueueDown, TimeoutError):
            beat = await self._heartbeat(stopped=True)
            await self._tools.queue.request(beat, _GOODBYE)

    async def _beat(self, tasks: asyncio.TaskGroup) -> None:
        beat = await self._heartbeat()
        sent = asyncio.get_running_loop().time()
        try:
            answer = await self._tools.queue.request(beat, max(self._lease / 3, 0.5))
        except Outcast as error:
            self._dismissed(error)
            return
        except (QueueDown, TimeoutError) as error:
            if self._answered:
                log.warning("the bot does not answer heartbeats", error=str(error) or "time-out")
            self._answered = False
            return
        if not self._answered:
            log.info("the bot answers heartbeats again")
        self._answered = True
        if isinstance(answer, HeartbeatAnswer):
            self._admitted.set()
            self._outcast = ""
            self._keep(answer, beat, sent)
            self._tools.lines.told(answer.lines)
            self._watch.proving.releases = frozenset(answer.proving)
            self._heed(answer, beat.attempts, sent, tasks)
        else:
            log.warning("heartbeat refused", answer=answer.model_dump())

    def _keep(self, answer: HeartbeatAnswer, beat: Heartbeat, sent: float) -> None:
        """What no image goes for: the list that came, or the one that we said we have."""
        if answer.kept is not None:
            self._kept, self._edition = frozenset(answer.kept), edition(answer.kept)
        elif beat.kept != self._edition:
            return  # the answer to an older heartbeat: it says nothing of the list that we have now
        self.needed = Needed(answer.instance, self._kept, sent)

    def _dismissed(self, error: Outcast) -> None:
        """No job is taken, and what runs is ours no more: if that is not proven, its lease decides."""
        self._admitted.clear()
        for running in self._running.values() if error.proven else ():
            running.stop(Cause.LOST)
        if str(error) != self._outcast:
            log.error("this worker is not believed, and takes no jobs", why=str(error))
        self._outcast = str(error)

    async def _heartbeat(self, *, stopped: bool = False) -> Heartbeat:
        return self._base.model_copy(
            update={
                "draining": self._draining(),
                "stopped": stopped,
                "attempts": [running.ref for running in self._running.values() if not self._is_lost(running)],
                "containers": self._watch.states,
                "services": self._watch.services,
                "disk_free": await self._room.free(),
                "problem": self._room.problem,
                "kept": self._edition,
            }
        )

    @staticmethod
    def _is_lost(running: Running) -> bool:
        return running.cause is Cause.LOST

    def _standing_aside(self) -> set[str]:
        """Releases that running attempts have stopped, or are about to."""
        specs = (running.attempt.spec for running in self._running.values())
        return {spec.serving for spec in specs if isinstance(spec, DeploySpec) and spec.serving}

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
        for name in set(answer.over) - self._retiring:
            self._retiring.add(name)
            tasks.create_task(self._end_service(name))

    async def _end_service(self, name: str) -> None:
        """Its environment is no more. Its volumes stay: they go with a stop alone."""
        try:
            for container in await self._tools.engine.containers({"worker": self._tools.worker}):
                if container.name == name and services.SERVICE in container.labels:
                    await self._tools.engine.remove(container.id, names.grace(container.labels))
                    log.info("removed a service of no environment", container=name)
            await networks.sweep(self._tools.worker, self._tools.engine)
        except Exception as error:
            log.warning("a service is not removed yet", container=name, error=str(error))
        finally:
            self._retiring.discard(name)
        self._watch.look_now()

    async def _retire(self, release: str) -> None:
        try:
            for container in await self._tools.engine.containers(
                {"worker": self._tools.worker, "release": release}
            ):
                await self._tools.engine.remove(container.id, names.grace(container.labels))
                log.info("removed a retired release's container", release=release, container=container.name)
            await self._retire_service(release)
            await networks.sweep(self._tools.worker, self._tools.engine)
        except Exception as error:
            log.warning("a retired release is not removed yet", release=release, error=str(error))
        finally:
            self._retiring.discard(release)
        self._watch.look_now()

    async def _retire_service(self, release: str) -> None:
        """A service that runs it goes back to the release before, unless that one is retired too."""
        for service in await self._tools.engine.swarm.services({"release": release}):
            if self._is_being_changed(service.labels):
                continue
            self._retired.add(release)
            if service.previous in self._retired:
                await self._tools.engine.swarm.remove(service.name)
            else:
                await swarm.undone(service, self._tools)
            log.info("a retired release's service is gone back", release=release, service=service.name)

    def _is_being_changed(self, labels: Mapping[str, str]) -> bool:
        place = [labels.get(PREFIX + part) for part in ("instance", "repository", "environment")]
        specs = (running.attempt.spec for running in self._running.values())
        return any(
            [spec.instance, spec.repository, spec.environment] == place
            for spec in specs
            if isinstance(spec, DeploySpec | StopSpec)
        )
