"""A worker's end of shells: bounded, ended in time, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.parts.engine import Engine
from tests.workers.contract.conftest import eventually
from workers.contract.memory import MemoryQueue
from workers.contract.queue import Hearing, QueueDown
from workers.contract.shells import (
    PIECE,
    WINDOW,
    Began,
    Close,
    Over,
    Printed,
    ShellOrder,
    ShellSaid,
    Start,
    Still,
    Stream,
    Took,
    Towards,
    Typed,
    Wanted,
    Why,
)
from workers.deploy import shells as module
from workers.deploy.shells import Shells
from workers.engine import labels
from workers.engine.docker import DockerEngine
from workers.engine.engine import Container, EngineDown, prefixed
from workers.engine.piping import HEADER
from workers.engine.terminal import Terminal
from workers.tools import Tools

LIFE = "this life of the worker"


@dataclass
class Endless:
    """A command that prints for ever, or never, and takes all that is typed."""

    session: str = "17 4711"
    prints: bool = False
    read_: int = 0
    typed: bytes = b""
    closed: bool = False

    async def read(self) -> Printed | None:
        if not self.prints:
            await asyncio.Event().wait()
        self.read_ += PIECE
        return Printed(stream=Stream.OUT, data=b"y" * PIECE)

    async def write(self, data: bytes) -> None:
        self.typed += data

    def eof(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    async def code(self) -> int | None:
        return 0

    async def close(self) -> None:
        self.closed = True


@dataclass
class Containers:
    """An engine with one container, whose commands are Endless."""

    commands: list[Endless] = field(default_factory=list)
    prints: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)

    async def containers(self, wanted: dict[str, str]) -> list[Container]:
        self.asked.append(wanted)
        known: dict[str, Any] = {"restarts": 0, "exit_code": 0, "out_of_memory": False, "address": None}
        return [Container(id="1", name="shop-1", labels={}, status="running", **known)]

    async def shell(self, *_: object, **__: object) -> Endless:
        self.commands.append(Endless(prints=self.prints))
        return self.commands[-1]


@dataclass
class Bot:
    """The other end of one shell."""

    queue: MemoryQueue
    shells: Shells
    name: str
    hearing: Hearing
    number: int = 0

    def say(self, what: Towards) -> None:
        self.shells.hear(ShellOrder(shell=self.name, number=self.number, what=what))
        self.number += 1

    async def hears(self, kind: type[Any]) -> Any:
        """What of this kind comes next."""
        async with asyncio.timeout(30):
            while True:
                if isinstance(what := (await self.hearing()).what, kind):
                    return what


def start(life: str = LIFE, **more: Any) -> Start:
    return Start(**{"instance": life, "release": "r", "wanted": Wanted(), "idle": 60, "longest": 60, **more})


@contextlib.asynccontextmanager
async def working(
    queue: MemoryQueue, engine: object, folder: Path, at_once: int = 2
) -> AsyncIterator[Shells]:
    tools = SimpleNamespace(worker="one", engine=engine, queue=queue)
    shells = Shells(cast(Tools, tools), LIFE, folder, at_once)
    running = asyncio.create_task(shells.run())
    try:
        yield shells
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def asked(queue: MemoryQueue, shells: Shells, wanted: Start | None = None) -> AsyncIterator[Bot]:
    name = secrets.token_hex(16)
    async with queue.shell(name, "one") as hearing:
        bot = Bot(queue, shells, name, hearing)
        bot.say(wanted or start())
        yield bot


async def test_a_command_that_prints_for_ever_is_read_as_far_as_the_person_took(tmp_path: Path) -> None:
    queue, engine = MemoryQueue(), Containers(prints=True)
    async with working(queue, engine, tmp_path) as shells, asked(queue, shells) as bot:
        await bot.hears(Began)
        [command] = engine.commands
        told = 0
        while told < WINDOW:
            told += len((await bot.hears(Printed)).data)
        await bot.hears(Still)  # nothing more before that
        assert command.read_ <= WINDOW + PIECE

        bot.say(Took(bytes=PIECE))
        told += len((await bot.hears(Printed)).data)
        assert told == WINDOW + PIECE
        bot.say(Close())
        assert (await bot.hears(Over)).why is Why.LEFT
        assert command.closed
    assert engine.asked == [{"worker": "one", "release": "r"}]


@pytest.mark.parametrize(
    ("more", "why"), [({"idle": 0.2}, Why.IDLE), ({"longest": 0.2}, Why.LONGEST)], ids=["idle", "longest"]
)
async def test_a_shell_ends_when_nobody_uses_it_and_when_it_lasted_long(
    tmp_path: Path, more: dict[str, Any], why: Why
) -> None:
    queue, engine = MemoryQueue(), Containers()
    async with working(queue, engine, tmp_path) as shells, asked(queue, shells, start(LIFE, **more)) as bot:
        over = await bot.hears(Over)
    assert (over.why, engine.commands[0].closed) == (why, True)


async def test_a_shell_ends_with_its_bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, engine = MemoryQueue(), Containers()
    async with working(queue, engine, tmp_path) as shells:
        monkeypatch.setattr(module, "SILENT", 0.2)
        monkeypatch.setattr(module, "BEAT", 0.05)
        async with asked(queue, shells) as bot:
            assert (await bot.hears(Over)).why is Why.LOST
        monkeypatch.setattr(module, "SILENT", 60)
        async with asked(queue, shells) as bot:
            await bot.hears(Began)
        await eventually(lambda: all(one.closed for one in engine.commands))  # its queue has gone
        with pytest.raises(QueueDown):
            await queue.say(ShellSaid(shell=bot.name, number=0, what=Still()))


async def test_what_is_lost_on_the_way_ends_a_shell_and_what_is_more_than_may_be_too(tmp_path: Path) -> None:
    queue, engine = MemoryQueue(), Containers()
    async with working(queue, engine, tmp_path) as shells:
        async with asked(queue, shells) as bot:
            await bot.hears(Began)
            bot.number += 1
            bot.say(Typed(data=b"rm -r /"))
            assert (await bot.hears(Over)).why is Why.LOST
        assert engine.commands[-1].typed == b""
        async with asked(queue, shells) as bot:
            await bot.hears(Began)
            bot.say(Took(bytes=1))
            assert (await bot.hears(Over)).why is Why.LOST


async def test_a_worker_has_so_many_shells_and_begins_none_that_was_meant_for_another_life(
    tmp_path: Path,
) -> None:
    queue, engine = MemoryQueue(), Containers()
    async with (
        working(queue, engine, tmp_path, at_once=1) as shells,
        asked(queue, shells, start("a life before")),
        asked(queue, shells) as bot,
    ):
        await bot.hears(Began)
        async with asked(queue, shells) as another:
            over = await another.hears(Over)
        assert (over.why, "EXEC_AT_ONCE" in over.sentence) == (Why.REFUSED, True)
        bot.say(Close())
        await bot.hears(Over)
        shells.hear(ShellOrder(shell=bot.name, number=0, what=start()))  # a broker that says it again
        async with asked(queue, shells) as third:
            await third.hears(Began)
    assert len(engine.commands) == 2


async def test_what_an_engine_does_not_end_is_tried_again_and_shells_open_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Away(Containers):
        ended: list[str] = field(default_factory=list)
        back: bool = False

        async def end_session(self, _container: str, session: str) -> None:
            if not self.back and session == "17 4711":
                raise EngineDown("it is away")
            self.ended.append(session)

    monkeypatch.setattr(module, "_AGAIN", 0.05)
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "first").write_text("0123 17 4711")
    (notes / "second").write_text("0123 18 4711")
    queue, engine = MemoryQueue(), Away()
    async with working(queue, engine, notes) as shells, asked(queue, shells) as bot:
        await bot.hears(Began)
        await eventually(lambda: engine.ended == ["18 4711"])
        engine.back = True
        await eventually(lambda: engine.ended == ["18 4711", "17 4711"])
        await eventually(lambda: [note.name for note in notes.iterdir()] == [bot.name])


@pytest.mark.parametrize(("at_once", "says"), [(0, "takes no shells"), (1, "1 shells")])
async def test_who_gets_no_shell_of_a_worker_is_told_what_keeps_them_out(
    tmp_path: Path, at_once: int, says: str
) -> None:
    queue, engine = MemoryQueue(), Containers()
    async with working(queue, engine, tmp_path, at_once) as shells:
        for _ in range(at_once):
            shells.hear(ShellOrder(shell=secrets.token_hex(16), number=0, what=start()))
        async with asked(queue, shells) as bot:
            assert says in (await bot.hears(Over)).sentence


async def test_what_a_killed_worker_left_is_ended_when_it_is_back_and_nothing_else(
    engine: Engine, base: str, name: str, docker_engine: DockerEngine, tmp_path: Path
) -> None:
    told = labels.whole(prefixed({"worker": name, "release": "r"}))
    container = engine.client.containers.run(
        base, ["sleep", "600"], name=f"blacktree-{name}", labels=told, detach=True, init=True
    )
    left = await docker_engine.shell(
        str(container.id), ["sh", "-c", "sleep 4244 & sleep 4245"], tty=True, term="", rows=24, columns=80
    )
    number, _, since = left.session.partition(" ")
    (tmp_path / "mine").write_text(f"{container.id} {left.session}")
    (tmp_path / "another's").write_text(f"{container.id} {number} {int(since) - 1}")
    (tmp_path / "gone").write_text("0123 17 4711")
    (tmp_path / "half").write_bytes(b"")  # of a machine that lost its power
    (tmp_path / "no text").write_bytes(b"\xff\x00")

    def words() -> str:
        found: Any = container.top()
        return "\n".join(" ".join(row) for row in found["Processes"])

    assert "sleep 4244" in words()
    assert "sleep 4245" in words()
    await docker_engine.end_session(str(container.id), f"{number} {int(since) - 1}")
    assert "sleep 4244" in words(), "its number was given to another since"

    async with working(MemoryQueue(), docker_engine, tmp_path):
        await eventually(lambda: not list(tmp_path.iterdir()))
    await eventually(lambda: "sleep 42" not in words())
    assert "sleep 600" in words()
    await left.close()


def test_what_a_command_prints_is_not_taken_for_its_number_although_it_comes_first() -> None:
    there = Terminal(cast(Any, None), "1", ["echo", "1"], tty=False, term="")
    parts = [(1, b"1\n"), (2, b"17 4711\noops")]  # as an engine may send the two streams
    there._from = io.BytesIO(b"".join(HEADER.pack(kind, len(data)) + data for kind, data in parts))
    there._told()

    assert there.session == "17 4711"
    printed = [there._read() for _ in range(3)]
    assert printed == [
        Printed(stream=Stream.OUT, data=b"1\n"),
        Printed(stream=Stream.ERR, data=b"oops"),
        None,
    ]
