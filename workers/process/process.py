"""Child processes: argument lists only, output streamed in bounded memory, none left behind."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Given a block of whole lines, the last newline included; a line that is longer than a block comes in
# pieces, and only the last one has the newline.
Output = Callable[[str], None]

BLOCK = 64 * 1024  # bytes that are read at once
_TAIL = 64 * 1024  # characters
_LAST_OUTPUT = 1.0  # seconds that a grandchild may hold the output open for
_LOOKS = 50  # at a killed group, in as long as that
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Ended:
    """A child's exit code (negative: the signal) and the end of its output."""

    code: int
    tail: str


def _ignore(_: str) -> None:
    pass


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    output: Output = _ignore,
    timeout: float | None = None,
    pass_fds: Sequence[int] = (),
    umask: int = -1,
) -> Ended:
    """Run `argv` to its end. When cancelled or out of time, its whole process group is killed first.

    `umask`: this process's own unless it is given.
    Raises TimeoutError, and FileNotFoundError if there is no such program.
    """
    if not any(os.access(os.path.join(place, argv[0]), os.X_OK) for place in _places(argv[0], env)):
        raise FileNotFoundError(f"there is no program {argv[0]}")
    tail = _Tail()
    # A pipe of our own: asyncio's `wait` waits until every holder of its pipes is gone.
    with _pipe() as (reader, writer):
        process = await asyncio.create_subprocess_exec(
            *_masked(umask), "setpriv", "--pdeathsig", "KILL", "--", *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writer,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            pass_fds=pass_fds,
        )  # fmt: skip
        writer.close()
        reading = asyncio.create_task(_read(reader, output, tail))
        try:
            async with asyncio.timeout(timeout):
                code = await process.wait()
                await asyncio.wait({reading}, timeout=_LAST_OUTPUT)
        finally:
            await _end(process)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    if not reading.cancelled():
        reading.result()
    return Ended(code, tail.text())


def _masked(umask: int) -> tuple[str, ...]:
    """What gives a child its umask: uvloop's children can't be given one."""
    return () if umask < 0 else ("sh", "-c", f'umask {umask:o} && exec "$0" "$@"')


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, BinaryIO]]:
    """A pipe's two ends; who has given the second to a child closes it."""
    here, there = os.pipe2(os.O_CLOEXEC)
    writer: BinaryIO = os.fdopen(there, "wb", buffering=0)
    try:
        yield here, writer
    finally:
        writer.close()
        os.close(here)


async def _next(pipe: int) -> bytes:
    """What comes next out of a pipe, a block at most; nothing at its end.

    Not by `connect_read_pipe`: uvloop closes that file's descriptor twice, and the second time it may be
    what another thread has opened in between.
    """
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(pipe)
    return os.read(pipe, BLOCK)


def _places(program: str, env: Mapping[str, str]) -> list[str]:
    return [""] if os.sep in program else env.get("PATH", os.defpath).split(os.pathsep)


def lines(block: str) -> list[str]:
    """The lines of a block, each with its newline; the last one without if the block has none."""
    *whole, rest = block.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


async def _read(pipe: int, output: Output, tail: _Tail) -> None:
    blocks = Blocks()

    def give(block: str) -> None:
        if block:
            tail.put(block)
            output(block)

    try:
        while chunk := await _next(pipe):
            give(blocks.feed(chunk))
    finally:
        give(blocks.end())


class Blocks:
    """Bytes that arrive anyhow ▸ text that ends where a line does, or pieces of a line that is longer."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> str:
        """What is complete, in two blocks' characters at most; may be empty."""
        whole, newline, rest = self._decoder.decode(chunk).rpartition("\n")
        block = self._rest + whole + newline if newline else ""
        self._rest = rest if newline else self._rest + rest
        if len(self._rest) >= BLOCK:
            block, self._rest = block + self._rest, ""
        return block

    def end(self) -> str:
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return rest + "\n" if rest else ""


class _Tail:
    """The end of an output."""

    def __init__(self) -> None:
        self._blocks: deque[str] = deque()
        self._size = 0

    def put(self, block: str) -> None:
        self._blocks.append(block)
        self._size += len(block)
        while self._size - len(self._blocks[0]) >= _TAIL:
            self._size -= len(self._blocks.popleft())

    def text(self) -> str:
        """Whole lines, as far as they are not longer than all this."""
        text = "".join(self._blocks)
        if len(text) <= _TAIL:
            return text
        return text[-_TAIL:].partition("\n")[2] or text[-_TAIL:]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
    _signal(process.pid, signal.SIGKILL)
    await process.wait()
    for _ in range(_LOOKS):
        if not _signal(process.pid, signal.SIGKILL):
            break
        await asyncio.sleep(_LAST_OUTPUT / _LOOKS)


def _signal(group: int, number: signal.Signals) -> bool:
    """Whether the group still has a process."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
