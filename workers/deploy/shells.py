"""Shells in what runs here: each a command in a container of a live release, for somebody at the bot.

It ends with whoever wanted it: when the person, the bot or the connection is gone, the command is too. What
this worker had begun when it was killed is ended when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import structlog

from config.outages import told
from workers.contract.failure import Failure, user
from workers.contract.first import first
from workers.contract.queue import QueueDown
from workers.contract.shells import (
    BEAT,
    SILENT,
    Back,
    Began,
    Close,
    Eof,
    Numbers,
    Over,
    Overrun,
    Printed,
    ShellOrder,
    ShellSaid,
    Sized,
    Start,
    Still,
    Took,
    Typed,
    Why,
    Window,
)
from workers.deploy import names
from workers.engine.engine import Container, EngineDown
from workers.engine.watched import Watched
from workers.tools import Tools

log = structlog.get_logger()

_BEGIN = 20.0  # seconds until a command runs
_LAST = 2.0  # seconds to say that it is over
_AGAIN = 30.0  # seconds until what an engine did not end is tried again
_NOTE = re.compile(r"(\w+) ([0-9]+(?: [0-9]+)?)")
_FULL = "its worker has {} shells, as many as it may have: end one, or see BLACKTREE_EXEC_AT_ONCE there"
_NONE = "its worker takes no shells: BLACKTREE_EXEC_AT_ONCE is 0 there"


class Shells:
    """All of this worker's, `at_once` at most. `folder` has a note of each that runs."""

    def __init__(self, tools: Tools, instance: str, folder: Path, at_once: int) -> None:
        self._tools = tools
        self._instance = instance
        self._folder = folder
        self._at_once = at_once
        self._open: dict[str, Shell] = {}
        self._known: set[str] = set()  # whatever a broker says again, none begins twice
        self._news: asyncio.Queue[Shell] = asyncio.Queue()

    def hear(self, order: ShellOrder) -> None:
        """What the bot says of one; it never waits."""
        if not isinstance(order.what, Start):
            if found := self._open.get(order.shell):
                found.hear(order)
            return
        if order.number or order.what.instance != self._instance or order.shell in self._known:
            log.warning("a shell was not begun: it is an old one, or another worker's", shell=order.shell)
            return
        self._known.add(order.shell)
        full = (_FULL if self._at_once else _NONE) if len(self._open) >= self._at_once else ""
        note, full = self._folder / order.shell, full.format(self._at_once)
        self._open[order.shell] = shell = Shell(self._tools, order.shell, order.what, note, full=full)
        self._news.put_nowait(shell)

    async def run(self) -> None:
        """Until cancelled; then none runs any more."""
        left = await asyncio.to_thread(_noted, self._folder)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep(left))
            while True:
                tasks.create_task(self._lived(await self._news.get()))

    async def _lived(self, shell: Shell) -> None:
        try:
            await shell.run()
        finally:
            del self._open[shell.name]

    async def _sweep(self, left: dict[Path, tuple[str, str]]) -> None:
        """End what this worker had begun in an earlier life, however late its engine answers."""
        while left:
            for note, (container, session) in list(left.items()):
                try:
                    await self._tools.engine.end_session(container, session)
                    await asyncio.to_thread(note.unlink, missing_ok=True)
                except (OSError, EngineDown) as error:
                    told(log, "a shell that was left is not ended yet", error, shell=note.name)
                    continue
                del left[note]
                log.info("ended a shell that was left", shell=note.name)
            if left:
                await asyncio.sleep(_AGAIN)


class Shell:
    """One of them."""

    def __init__(self, tools: Tools, name: str, start: Start, note: Path, *, full: str) -> None:
        self.name = name
        self._tools = tools
        self._start = start
        self._note = note
        self._full = full
        loop = asyncio.get_running_loop()
        self._time: Callable[[], float] = loop.time
        self._until = self._time() + start.longest
        self._heard = self._moved = self._time()
        self._numbers, self._said = Numbers(1), 0
        self._typed, self._printed = Window(), Window()
        self._inbox: asyncio.Queue[Typed | Eof] = asyncio.Queue()
        self._room, self._sizes = asyncio.Event(), asyncio.Event()
        self._size = Sized(rows=start.wanted.rows, columns=start.wanted.columns)
        self._ends: asyncio.Future[Over] = loop.create_future()
        self._saying = asyncio.Lock()

    def hear(self, order: ShellOrder) -> None:
        self._heard, what = self._time(), order.what
        if not self._numbers.fits(order.number):
            return self._end(Why.LOST, "something on the way to the worker was lost")
        try:
            if isinstance(what, Took):
                self._printed.take(what.bytes)
                self._room.set()
            elif isinstance(what, Typed):
                self._typed.send(len(what.data))
                self._inbox.put_nowait(what)
            elif isinstance(what, Eof):
                self._inbox.put_nowait(what)
            elif isinstance(what, Sized):
                self._size = what
                self._sizes.set()
            elif isinstance(what, Close):
                self._end(Why.LEFT, "")
        except Overrun as error:
            self._end(Why.LOST, f"the bot breaks the rules of a shell: {error}")
        return None

    async def run(self) -> None:
        """From its beginning until nothing of it is left. Never raises."""
        over = Over(why=Why.LOST, sentence="the worker stops")
        try:
            over = await self._lived()
        except Failure as error:
            over = Over(why=Why.REFUSED, sentence=error.sentence)
        except Exception as error:
            lost = "the worker lost it"
            over = Over(why=Why.LOST, sentence=f"{lost}: {error}" if isinstance(error, EngineDown) else lost)
            told(log, "a shell broke", error, shell=self.name)
        finally:
            log.info("a shell is over", shell=self.name, why=over.why.value, code=over.code)
            with contextlib.suppress(QueueDown, TimeoutError):
                async with asyncio.timeout(_LAST):
                    await self._say(over)

    async def _lived(self) -> Over:
        if self._full:
            raise user("full", self._full)
        wanted, engine = self._start.wanted, self._tools.engine
        container = await self._container()
        try:
            async with asyncio.timeout(_BEGIN):
                command = await engine.shell(
                    container.id,
                    wanted.command,
                    tty=wanted.tty,
                    term=wanted.term,
                    rows=wanted.rows,
                    columns=wanted.columns,
                )
        except TimeoutError:
            raise user("slow", f"its container did not begin it within {_BEGIN:g} seconds") from None
        try:
            await asyncio.to_thread(_write, self._note, f"{container.id} {command.session}")
            log.info("a shell began", shell=self.name, container=container.name)
            await self._say(Began(container=names.back(container.name)))
            return await first(
                self._printing(command), self._typing(command), self._sizing(command), self._watching()
            )
        finally:
            await asyncio.shield(asyncio.ensure_future(self._close(command)))

    async def _container(self) -> Container:
        """One that runs, of that release and process. Raises Failure where there is none."""
        wanted = {"worker": self._tools.worker, "release": self._start.release}
        running = [one for one in await self._tools.engine.containers(wanted) if one.running]
        process = self._start.wanted.process
        found = [one for one in running if names.process(one.labels) == process]
        if found:
            return min(found, key=lambda one: one.name)
        there = sorted({names.process(one.labels) for one in running})
        raise user(
            "no_container",
            f"no container of {process} runs now: these do: {', '.join(there)}"
            if there
            else f"no container of {process} runs now",
        )

    async def _printing(self, command: Watched) -> Over:
        while (printed := await command.read()) is not None:
            self._moved = self._time()
            await self._sent(printed)
        code = await command.code()
        if code is None:
            return Over(why=Why.LOST, sentence="its container has gone")
        return Over(why=Why.ENDED, code=code)

    async def _sent(self, printed: Printed) -> None:
        """Once the person has room for it: until then nothing is read, and the command waits."""
        while self._printed.left < len(printed.data):
            self._room.clear()
            await self._room.wait()
        self._printed.send(len(printed.data))
        await self._say(printed)

    async def _typing(self, command: Watched) -> Over:
        while True:
            what = await self._inbox.get()
            if isinstance(what, Eof):
                command.eof()
                continue
            await command.write(what.data)
            self._moved = self._time()
            self._typed.take(len(what.data))
            await self._say(Took(bytes=len(what.data)))

    async def _sizing(self, command: Watched) -> Over:
        while True:
            await self._sizes.wait()
            self._sizes.clear()
            await command.resize(self._size.rows, self._size.columns)

    async def _watching(self) -> Over:
        """Until nobody may, can or wants to go on."""
        while True:
            now = self._time()
            idle = self._moved + self._start.idle
            if self._ends.done():
                return self._ends.result()
            if now >= self._heard + SILENT:
                return Over(why=Why.LOST, sentence="the bot is silent")
            if now >= idle:
                sentence = f"nothing was typed or printed for {self._start.idle:g} seconds"
                return Over(why=Why.IDLE, sentence=sentence)
            if now >= self._until:
                return Over(why=Why.LONGEST, sentence=f"it lasted {self._start.longest:g} seconds")
            await self._say(Still())
            await asyncio.wait({self._ends}, timeout=max(0.0, min(BEAT, idle - now, self._until - now)))

    async def _say(self, what: Back) -> None:
        async with self._saying:
            said = ShellSaid(shell=self.name, number=self._said, what=what)
            self._said += 1
            await self._tools.queue.say(said)

    def _end(self, why: Why, sentence: str) -> None:
        if not self._ends.done():
            self._ends.set_result(Over(why=why, sentence=sentence))

    async def _close(self, command: Watched) -> None:
        try:
            await command.close()
            await asyncio.to_thread(self._note.unlink, missing_ok=True)
        except (OSError, EngineDown) as error:  # the note stays for the worker's next life
            told(log, "a shell may not have ended in its container", error, shell=self.name)


def _write(note: Path, text: str) -> None:
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.write_text(text)


def _noted(folder: Path) -> dict[Path, tuple[str, str]]:
    """Container and session of each shell that has a note. One that was not written to its end is removed."""
    found = {}
    try:
        for note in list(folder.iterdir()) if folder.is_dir() else []:
            if whole := _NOTE.fullmatch(note.read_bytes().decode(errors="replace")):
                found[note] = (whole[1], whole[2])
            else:
                note.unlink()
    except OSError as error:
        told(log, "it cannot be read which shells were left", error, folder=str(folder))
    return found
