"""Child processes: argument lists only, output streamed in bounded memory, none left behind."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Given a line with its newline; a longer one comes in pieces, and only the last has the newline.
Output = Callable[[str], None]

PIECE = 16 * 1024  # characters
_TAIL = 50  # pieces
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
) -> Ended:
    """Run `argv` to its end. When cancelled or out of time, its whole process group is killed first.

    Raises TimeoutError, and FileNotFoundError if there is no such program.
    """
    if not any(os.access(os.path.join(place, argv[0]), os.X_OK) for place in _places(argv[0], env)):
        raise FileNotFoundError(f"there is no program {argv[0]}")
    tail: deque[str] = deque(maxlen=_TAIL)
    # A pipe of our own: asyncio's `wait` waits until every holder of its pipes is gone.
    async with _pipe() as (reader, writer):
        process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "KILL", "--", *argv,
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
    return Ended(code, "".join(tail))


@contextlib.asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, BinaryIO]]:
    """A pipe's two ends; who has given the second to a child closes it."""
    reader = asyncio.StreamReader(limit=PIECE)
    here, there = os.pipe2(os.O_CLOEXEC)
    writer: BinaryIO = os.fdopen(there, "wb", buffering=0)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(here, "rb", buffering=0)
    )
    try:
        yield reader, writer
    finally:
        writer.close()
        transport.close()


def _places(program: str, env: Mapping[str, str]) -> list[str]:
    return [""] if os.sep in program else env.get("PATH", os.defpath).split(os.pathsep)


async def _read(reader: asyncio.StreamReader, output: Output, tail: deque[str]) -> None:
    pieces = Pieces()
    try:
        while chunk := await reader.read(PIECE):
            for piece in pieces.feed(chunk):
                tail.append(piece)
                output(piece)
    finally:
        for piece in pieces.end():
            tail.append(piece)
            output(piece)


class Pieces:
    """Bytes that arrive anyhow ▸ text pieces of at most PIECE characters that end where lines do."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, chunk: bytes) -> list[str]:
        return self._cut(self._decoder.decode(chunk))

    def end(self) -> list[str]:
        pieces = self._cut(self._decoder.decode(b"", final=True))
        rest, self._rest = self._rest, ""
        return [*pieces, rest + "\n"] if rest else pieces

    def _cut(self, text: str) -> list[str]:
        *lines, rest = (self._rest + text).split("\n")
        whole = [piece for line in lines for piece in _slices(line + "\n")]
        cut = len(rest) - len(rest) % PIECE
        self._rest = rest[cut:]
        return whole + _slices(rest[:cut])


def _slices(text: str) -> list[str]:
    return [text[start : start + PIECE] for start in range(0, len(text), PIECE)]


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
