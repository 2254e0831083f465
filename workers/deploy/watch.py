"""What a worker's containers do: told by the engine as it happens, and looked at now and then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection

import structlog

from config.outages import told
from workers.contract.failure import Failure
from workers.contract.messages import LAST_LINES, ContainerState, ServiceState
from workers.deploy import aside, names, services
from workers.deploy.proving import Proving
from workers.engine.engine import PREFIX, Container, EngineDown, Happening
from workers.engine.services import Service, Task
from workers.output.masking import Masker
from workers.tools import Tools

log = structlog.get_logger()

_PAUSE = 0.2  # seconds between two looks, however much happens
_AGAIN = 1.0  # seconds before the engine is listened to again
_LINES = 20


class Watch:
    """Keeps `states` fresh and gives `news` when they change, until cancelled. A slow engine delays both."""

    def __init__(
        self, tools: Tools, interval: float, news: Callable[[], None], busy: Callable[[], Collection[str]]
    ) -> None:
        """`busy`: releases that a running attempt has stopped, or is about to."""
        self.states: list[ContainerState] = []
        self.services: list[ServiceState] = []
        self.found: list[Container] = []  # what serves and what stands, as last looked at
        self.looked = asyncio.Event()  # whether they are known at all
        self.proving = Proving(self.look_now)
        self._tools = tools
        self._interval = interval
        self._news = news
        self._busy = busy
        self._happened = asyncio.Event()
        self._ends: dict[str, Happening] = {}  # the last end of each container
        self._starved: set[str] = set()  # containers whose last end was for want of memory
        self._said: dict[tuple[str, int, str], str] = {}  # last lines, of each end

    def look_now(self) -> None:
        self._happened.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen())
            tasks.create_task(self.proving.run())
            while True:
                self._happened.clear()
                try:
                    await self._look()
                except Exception as error:
                    told(log, "the engine's containers are unknown", error)
                await asyncio.sleep(_PAUSE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._happened.wait()

    async def _listen(self) -> None:
        while True:
            try:
                await self._tools.engine.watch(self._notice)
            except EngineDown as error:
                log.warning("the engine tells nothing", error=str(error))
            await asyncio.sleep(_AGAIN)
            self.look_now()  # at what happened meanwhile

    def _notice(self, happening: Happening) -> None:
        if happening.what == "oom":
            self._starved.add(happening.container)
        elif happening.what == "die":
            last = self._ends.get(happening.container)
            if last is not None and not _starved(happening):
                self._starved.discard(happening.container)
            self._ends[happening.container] = happening
        self.look_now()

    async def _look(self) -> None:
        found = await self._tools.engine.containers({"worker": self._tools.worker})
        await self._bring_back(found)
        swarmed = await self._tools.engine.swarm.services({"worker": self._tools.worker})
        serving = [one for one in found if names.RELEASE in one.labels]
        standing = [one for one in found if services.SERVICE in one.labels]
        self._forget([*serving, *standing])
        self.found = [*serving, *standing]
        self.proving.containers = serving
        states = [await self._state(container) for container in serving]
        states += [state for service in swarmed for state in service_states(service, self._tools.address)]
        stood = [services.state(container, await self._state(container)) for container in standing]
        first = not self.looked.is_set()
        self.looked.set()
        if (states, stood) != (self.states, self.services) or first:
            self.states, self.services = states, stood
            self._news()

    async def _bring_back(self, found: list[Container]) -> None:
        """What stood aside for a deploy that a killed worker or engine ended serves again."""
        for container in found:
            release = container.labels.get(names.RELEASE)
            if not names.is_aside(container.name) or release in self._busy():
                continue
            if names.is_alone(container.name) and any(_succeeds(other, container) for other in found):
                continue  # it is removed, or its successor is
            try:
                await aside.again(container, self._tools)
                log.info("a release serves again", release=release, container=container.name)
            except Failure as failure:
                log.debug("a release cannot serve again yet", release=release, why=failure.sentence)

    def _forget(self, found: list[Container]) -> None:
        there = {container.id for container in found}
        self._ends = {key: value for key, value in self._ends.items() if key in there}
        self._starved &= there
        self._said = {key: value for key, value in self._said.items() if key[0] in there}

    async def _state(self, container: Container) -> ContainerState:
        end = self._ends.get(container.id)
        told = end is not None and (container.restarts > 0 or not container.running)
        out_of_memory = container.out_of_memory or (told and container.id in self._starved)
        code = end.exit_code if told and end is not None and end.exit_code is not None else None
        away = names.is_aside(container.name)
        return ContainerState(
            release=container.labels.get(names.RELEASE, ""),
            environment=container.labels.get(PREFIX + "environment", ""),
            process=names.process(container.labels),
            name=names.back(container.name),
            running=container.running,
            restarts=container.restarts,
            exit_code=container.exit_code if code is None else code,
            out_of_memory=out_of_memory,
            health=container.health,
            failing=self.proving.failing(container),
            address=container.address or "",
            aside=away,
            last_lines="" if away else await self._last_lines(container),
        )

    async def _last_lines(self, container: Container) -> str:
        """Of a container that ended, or did and was started again: read once for each end."""
        if container.running and not container.restarts:
            return ""
        key = (container.id, container.restarts, "" if container.running else container.status)
        if key not in self._said:
            said = await self._tools.engine.last_lines(container.id, _LINES)
            self._said[key] = Masker(container.secrets).masked(said)[-LAST_LINES:]
        return self._said[key]


def _succeeds(other: Container, container: Container) -> bool:
    """Whether another release's container runs the same process of the same environment."""
    same, mine = ("instance", "repository", "environment", "process"), container.labels.get(names.RELEASE)
    return (
        other.labels.get(names.RELEASE, mine) != mine
        and not names.is_aside(other.name)
        and all(other.labels.get(PREFIX + key) == container.labels.get(PREFIX + key) for key in same)
    )


def _starved(happening: Happening) -> bool:
    return happening.exit_code == 137  # SIGKILL, which is how the kernel takes memory back


def service_states(service: Service, address: str) -> list[ContainerState]:
    """Pure: the replicas of a service, as the newest task of each slot has them."""
    newest: dict[int, Task] = {}
    for task in service.tasks:
        if task.slot not in newest or (task.running and not newest[task.slot].running):
            newest[task.slot] = task
    return [
        ContainerState(
            release=task.release,
            environment=service.labels.get(PREFIX + "environment", ""),
            name=f"{service.name}.{slot}",
            running=task.running,
            restarts=sum(
                other.broken for other in service.tasks if (other.slot, other.release) == (slot, task.release)
            ),
            exit_code=_last_exit(service, task),
            address=_address(service, task, address),
            last_lines=task.error[:LAST_LINES],
        )
        for slot, task in sorted(newest.items())
    ]


def _last_exit(service: Service, task: Task) -> int:
    ended = (
        one.exit_code
        for one in service.tasks
        if (one.slot, one.release, one.broken) == (task.slot, task.release, True)
    )
    return next(ended, task.exit_code)


def _address(service: Service, task: Task, address: str) -> str:
    port = service.port or task.port
    return f"{address if service.port else task.host or address}:{port}" if port else ""
