"""What a worker's containers print, told to the bot: read from the engine, from where the bot is.

The engine keeps some megabytes of what a container printed, so nothing is followed and nothing waits here:
while nobody answers, or after a restart, it is read again from where the bot is. A container that prints more
than may be told is read from further on, and the bot told that lines are missing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from config.outages import told
from workers.contract.messages import Printed, Reached
from workers.contract.outputs import LONGEST, Line, Output
from workers.contract.queue import Outcast, QueueDown
from workers.deploy.whose import whose
from workers.engine.engine import Container
from workers.engine.printed import PrintedLine
from workers.output.masking import Masker
from workers.tools import Tools

log = structlog.get_logger()

SOON, LATE, DEAD = 1.0, 3.0, 15.0  # seconds between two looks: while it prints, is silent, does not run
RATE = 384 * 1024  # bytes of one container in a second, on the whole
FEW, MANY, ALL = 64, 4096, 0  # lines from the end of what the engine has
_CATCHING_UP = (
    128  # times that the engine, which reads all that it has then, is asked for ALL after a silence
)
_BATCH = 384 * 1024  # bytes of one message, and one line
_LINE = 200  # bytes of a line besides its text, where it is kept
_LAST = 5  # messages that a container which is removed may still fill, before its very end
_PARTED = 64  # messages of containers that are gone, which are not told yet
_STRANGE = 60.0  # seconds before the bot is asked again about a container that is not ours
_PATIENCE = 10.0  # seconds for an answer, and for the last words of a container
_AWAY = 5.0  # seconds before a bot that does not answer is told again
_MISSING = "[lines are missing here: more was printed than is told]"


@dataclass
class _Source:
    """A container that is listened to."""

    masker: Masker
    at: int | None = None  # how far the bot is, in nanoseconds; None until it said so
    due: float = 0.0  # by the loop's clock
    pause: float = SOON
    catching_up: int = _CATCHING_UP


@dataclass
class Outputs:
    """Tells until cancelled. `containers`: those that there are now."""

    tools: Tools
    containers: Callable[[], Sequence[Container]]
    _sources: dict[str, _Source] = field(default_factory=dict)
    _parted: deque[Output] = field(default_factory=lambda: deque(maxlen=_PARTED))
    _answered: bool = True

    async def run(self) -> None:
        self.tools.engine.before_removal(self.last)
        while True:
            try:
                await self._round()
                self._answered = True
                await asyncio.sleep(SOON)
            except (QueueDown, Outcast, TimeoutError) as error:
                if self._answered:
                    log.warning("what containers print is told later", error=str(error) or "time-out")
                self._answered = False
                for source in self._sources.values():
                    source.catching_up = _CATCHING_UP
                await asyncio.sleep(_AWAY)
            except Exception as error:
                told(log, "what containers print is not told now", error)
                await asyncio.sleep(_AWAY)

    async def last(self, container: str) -> None:
        """Keep what a container that is about to be removed printed at the end. It never fails."""
        found = next((one for one in self.containers() if one.id == container), None)
        if found is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._part(found, self._source(found))
        except Exception as error:
            told(log, "the last words of a container are lost", error, container=found.name)

    async def _part(self, container: Container, source: _Source) -> None:
        """Keep the next messages and, where they do not reach it, the end."""
        at = source.at or 0
        for _ in range(_LAST):
            lines = await self._read(container, source, at)
            if not lines:
                return
            self._parted.append(Output(whose=whose(container), lines=lines))
            at = lines[-1].at
        read = await self.tools.engine.printed(container.id, at, FEW)
        if lines := await asyncio.to_thread(masked, read, at, source.masker):
            self._parted.append(Output(whose=whose(container), lines=lines))

    async def _round(self) -> None:
        while self._parted:
            first = self._parted.popleft()
            try:
                await self._told([first])
            except BaseException:
                if len(self._parted) < _PARTED:
                    self._parted.appendleft(first)
                raise
        found = {one.id: one for one in self.containers()}
        self._sources = {id_: source for id_, source in self._sources.items() if id_ in found}
        if new := [one for one in found.values() if self._source(one).at is None and self._is_due(one)]:
            await self._told([Output(whose=whose(one)) for one in new])
        batch: list[Output] = []
        for one in found.values():
            source = self._source(one)
            if source.at is None or not self._is_due(one):
                continue
            try:
                lines = await self._read(one, source, source.at)
            except Exception as error:  # its neighbours are heard all the same
                told(log, "what a container prints is not known now", error, container=one.name)
                source.due = asyncio.get_running_loop().time() + DEAD
                continue
            self._settle(one, source, _size(lines))
            if lines:
                batch.append(Output(whose=whose(one), lines=lines))
            if sum(_size(output.lines) for output in batch) >= _BATCH:
                await self._told(batch)
                batch = []
        if batch:
            await self._told(batch)

    def _source(self, container: Container) -> _Source:
        if container.id not in self._sources:
            self._sources[container.id] = _Source(Masker(container.secrets))
        return self._sources[container.id]

    def _is_due(self, container: Container) -> bool:
        return asyncio.get_running_loop().time() >= self._sources[container.id].due

    def _settle(self, container: Container, source: _Source, size: int) -> None:
        source.pause = pause(source.pause, size, running=container.running)
        source.due = asyncio.get_running_loop().time() + source.pause

    async def _read(self, container: Container, source: _Source, since: int) -> list[Line]:
        """The next lines after that moment, masked, with a note where some are missing."""
        engine = self.tools.engine
        read = await engine.printed(container.id, since, FEW if since else ALL)
        for lines in (MANY, ALL):
            if not since or not read or joins(read, since):
                break
            if lines == ALL:
                if not source.catching_up:
                    break
                source.catching_up -= 1
            longer = await engine.printed(container.id, since, lines)
            if not longer or longer[-1].at <= since:
                break  # it is filled by a line that was told already, as far as it goes
            read = longer
        return await asyncio.to_thread(masked, read, since, source.masker)

    async def _told(self, outputs: list[Output]) -> None:
        """Tell the bot. Raises QueueDown, TimeoutError: then what is told here is read again."""
        answer = await self.tools.queue.request(Printed(worker=self.tools.worker, outputs=outputs), _PATIENCE)
        if not isinstance(answer, Reached):
            raise QueueDown(f"the bot refused it: {answer.model_dump()}")
        for output in outputs:
            source = self._sources.get(output.whose.container)
            if source is None:
                continue
            source.at = answer.at.get(output.whose.container)
            if source.at is None:
                source.due = asyncio.get_running_loop().time() + _STRANGE


def pause(before: float, size: int, *, running: bool) -> float:
    """Pure: seconds until the next look at a container that printed `size` bytes since the last."""
    if size:
        return max(SOON, size / RATE)
    return min(before * 1.5, LATE if running else DEAD)


def joins(read: Sequence[PrintedLine], since: int) -> bool:
    """Pure: whether nothing lies between the line of that moment and these: it is among them."""
    return read[0].at <= since


def masked(read: Sequence[PrintedLine], since: int, masker: Masker) -> list[Line]:
    """Pure: the lines after that moment that fit into one message, as they may be seen."""
    lines: list[Line] = []
    size = 0
    if since and read and not joins(read, since):
        # What is missing may be the beginning of this line, and of a secret in it: the rest is no secret's
        # form. The engine forgets, and counts, pieces of lines.
        lines.append(Line(at=read[0].at, text=_MISSING, note=True))
        read = read[1:]
    for line in read:
        if line.at <= since:
            continue
        text = " ".join(masker.masked(line.text).splitlines())
        cut = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
        lines.append(Line(at=line.at, text=cut))
        size += len(cut) + _LINE
        if size >= _BATCH:
            break
    return lines


def _size(lines: Iterable[Line]) -> int:
    return sum(len(line.text) + _LINE for line in lines)
