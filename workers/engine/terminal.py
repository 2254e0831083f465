"""A command that somebody runs in a container while they watch: with a terminal, or with pipes.

No engine ends what it was asked to run in a container, so the command says its number there before it begins.
It leads a session of its own (https://man7.org/linux/man-pages/man2/setsid.2.html), and that whole session is
ended with it: what it started in the background, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from workers.contract.failure import user
from workers.contract.shells import PIECE, Printed, Stream
from workers.engine.engine import EngineDown
from workers.engine.making import sentence
from workers.engine.piping import HEADER, STDOUT, opened

T = TypeVar("T")

# Its number, and since when it has it (field 22 of https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html),
# so that a number that is given again is not taken for it. With a terminal it waits until that has its size.
_BEGIN = 'echo "$$ $(read -r s </proc/$$/stat; set -- ${s##*) }; shift 19; echo "$1")" >&2'
_PIPED = f'{_BEGIN}; exec "$@"'
_SIZED = f'{_BEGIN}; read -r _; exec "$@"'
# All of a session: asked to hang up, as when a line breaks, and a second later killed.
_END = """
session=$1 since=$2
if read -r stat <"/proc/$session/stat"; then
  set -- ${stat##*) }
  shift 19
  [ -z "$since" ] || [ "$1" = "$since" ] || exit 0
fi 2>/dev/null
for signal in HUP KILL KILL; do
  found=
  for file in /proc/[0-9]*/stat; do
    read -r stat <"$file" || continue
    number=${stat%% *}
    set -- ${stat##*) }
    [ "$4" = "$session" ] || continue
    kill -s "$signal" "$number" && found=1
  done 2>/dev/null
  [ -n "$found" ] || exit 0
  [ "$signal" = KILL ] || sleep 1
done
"""
_ENDING = 20.0  # seconds from the end of its output until the engine knows how it ended
_LOOK = 0.05
_SOON = 5.0  # seconds until a command that is being started has said its number
_LONGEST_HEAD = 4096  # bytes of what comes before the command
_NO_SHELL = "its container has no /bin/sh, which a shell needs: its image is built without one"


class Terminal:
    """One run of one command. What blocks runs in threads of its own; all raises EngineDown."""

    def __init__(
        self, client: docker.DockerClient, container: str, command: Sequence[str], *, tty: bool, term: str
    ) -> None:
        self._client: Any = client
        self._container = container
        self._command = list(command) or ["/bin/sh"]
        self._tty = tty
        self._term = term
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="shell")  # reads, writes, sizes, ends
        self._head = b""  # that came with the number, and is the command's own
        self._early: deque[Printed] = deque()  # of its output, which may overtake the number
        self._left = 0  # bytes of the part that is being read
        self._stream = Stream.OUT
        self._socket: socket.socket | None = None
        self._kept: Any = None
        self._beginning: asyncio.Future[None] | None = None
        self.session = ""  # NUMBER SINCE, by which it is ended

    async def begin(self, rows: int, columns: int) -> None:
        """Returns when it is about to run. Raises Failure where it cannot."""
        self._beginning = asyncio.ensure_future(self._do(lambda: self._begin(rows, columns)))
        await asyncio.shield(self._beginning)

    async def read(self) -> Printed | None:
        """What it prints next; None at its end."""
        return await self._do(self._read)

    async def write(self, data: bytes) -> None:
        """Waits until it took that, or the kernel for it. What nobody reads any more is lost."""
        there = self._socket
        if there is not None:
            with contextlib.suppress(OSError):
                await asyncio.get_running_loop().run_in_executor(self._threads, there.sendall, data)

    def eof(self) -> None:
        """Its input has ended. A terminal has no such end: whoever types it says so."""
        if self._socket is not None and not self._tty:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    async def resize(self, rows: int, columns: int) -> None:
        """Tell it how large its terminal is; one that has just ended does not hear it."""
        await self._do(lambda: self._resize(rows, columns))

    async def code(self) -> int | None:
        """How it ended; None where its container is gone."""
        return await self._do(self._code)

    async def close(self) -> None:
        """Nothing of it is left in the container, whatever it did, and nothing here."""
        if self._beginning is not None:  # else nobody would know its number
            await asyncio.wait({self._beginning}, timeout=_SOON)
        try:
            if self.session:
                await self._do(lambda: end(self._client, self._container, self.session))
        finally:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(Exception):
                    self._kept.close()
            self._threads.shutdown(wait=False)

    # -- in threads ----------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except (requests.RequestException, DockerException, OSError, ValueError) as error:
            raise EngineDown(f"the engine broke off a shell: {sentence(error)}") from None

    def _begin(self, rows: int, columns: int) -> None:
        line = ["/bin/sh", "-c", _SIZED if self._tty else _PIPED, "sh", *self._command]
        environment = {"TERM": self._term} if self._term and self._tty else {}
        try:
            made = self._client.api.exec_create(
                self._container, line, stdin=True, tty=self._tty, environment=environment
            )
            self._id = made["Id"]
            self._from, self._socket, self._kept = opened(self._client, self._id, tty=self._tty)
        except APIError as error:
            if error.is_server_error():
                raise
            raise user("command_failed", f"nothing can be run in it: {sentence(error)}") from None
        self._told()
        if self._tty:
            self._resize(rows, columns)
            self._go()

    def _told(self) -> None:
        """Wait for its number."""
        said = b""
        while b"\n" not in said and len(said) < _LONGEST_HEAD and len(self._early) < _LONGEST_HEAD:
            piece = self._piece()
            if piece is None:
                break
            if piece.stream is Stream.OUT and not self._tty:
                self._early.append(piece)
            else:
                said += piece.data
        line, _, self._head = said.partition(b"\n")
        words = line.decode(errors="replace").split()
        if not 1 <= len(words) <= 2 or not all(map(str.isdecimal, words)):
            raise user("no_shell", _NO_SHELL)
        self.session = " ".join(words)

    def _go(self) -> None:
        """Let it run. A terminal that shows what is typed shows this line too: nobody typed it."""
        assert self._socket  # noqa: S101
        word = secrets.token_hex(8).encode()
        self._socket.sendall(word + b"\n")
        echo = word + b"\r\n"
        while len(self._head) < len(echo) and echo.startswith(self._head):
            piece = self._piece()
            if piece is None:
                break
            self._head += piece.data
        self._head = self._head.removeprefix(echo)

    def _read(self) -> Printed | None:
        if self._early:
            return self._early.popleft()
        if self._head:
            first, self._head = self._head[:PIECE], self._head[PIECE:]
            return Printed(stream=Stream.OUT if self._tty else Stream.ERR, data=first)
        return self._piece()

    def _piece(self) -> Printed | None:
        if self._tty:
            data = self._from.read1(PIECE)
            return Printed(stream=Stream.OUT, data=data) if data else None
        while not self._left:
            head = self._from.read(HEADER.size)
            if len(head) < HEADER.size:
                return None
            kind, self._left = HEADER.unpack(head)
            self._stream = Stream.OUT if kind == STDOUT else Stream.ERR
        data = self._from.read1(min(self._left, PIECE))
        self._left -= len(data)
        return Printed(stream=self._stream, data=data) if data else None

    def _resize(self, rows: int, columns: int) -> None:
        with contextlib.suppress(APIError):
            self._client.api.exec_resize(self._id, height=rows, width=columns)

    def _code(self) -> int | None:
        until = time.monotonic() + _ENDING
        while time.monotonic() < until:
            try:
                found = self._client.api.exec_inspect(self._id)
            except NotFound:
                return None
            if not found["Running"] and found["ExitCode"] is not None:
                return int(found["ExitCode"])
            time.sleep(_LOOK)
        raise EngineDown("the engine broke off the output of a command that still runs")


def end(client: Any, container: str, session: str) -> None:
    """End a session in a container, if it is still there. As root: what it became may be root's, too."""
    number, _, since = session.partition(" ")
    with contextlib.suppress(APIError):  # the container has gone, or stopped
        made = client.api.exec_create(container, ["/bin/sh", "-c", _END, "sh", number, since], user="0")
        # Its output would be waited for without an end where the container goes meanwhile.
        client.api.exec_start(made["Id"], detach=True)
        until = time.monotonic() + _ENDING
        while client.api.exec_inspect(made["Id"])["Running"] and time.monotonic() < until:
            time.sleep(_LOOK)
