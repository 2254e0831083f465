"""A command in a container that runs, with a stream of bytes from it or to it: for a thread, it blocks."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from workers.contract.failure import user
from workers.engine.engine import Ended, EngineDown
from workers.engine.making import sentence

# It says its number in the container first: no engine ends what it was asked to run there.
_TOLD = 'echo "$$" >&2; exec "$@"'
# https://docs.docker.com/reference/api/engine/version/v1.43/#tag/Container/operation/ContainerAttach
HEADER = struct.Struct(">BxxxL")
STDOUT = 1
_LAST = 4000  # bytes of what it complained about
_END = 30.0  # seconds from the end of its output until the engine knows how it ended
_LOOK = 0.05
_START = 60.0  # seconds that the engine has to start it
_SOON = 2.0  # seconds until a command that starts has said its number
_BROKE_OFF = "the engine broke off in the middle of a command's output"


class Piped:
    """One run of one command. `cut` may be called from another thread, at any time."""

    def __init__(self, client: docker.DockerClient, container: str, command: Sequence[str]) -> None:
        self._client = client
        self._container = container
        self._command = command
        self._said = b""  # beside its output
        self._tail = b""  # of an output that nobody takes
        self._pid = 0
        self._known = threading.Event()  # its number
        self._cut = threading.Event()
        self._socket: socket.socket | None = None

    def _start(self) -> socket.socket:
        self._whole()
        container, command, client = self._container, self._command, self._client
        try:
            made = client.api.exec_create(
                container, ["/bin/sh", "-c", _TOLD, "sh", *command], stdin=True, stdout=True, stderr=True
            )
            self._id = made["Id"]
            self._stream, self._socket, self._kept = opened(client, self._id)
            return self._socket
        except APIError as error:
            if error.is_server_error():
                raise
            raise user("command_failed", f"{command[0]} cannot be run: {sentence(error)}") from None

    def printed(self, take: Callable[[bytes], None]) -> Ended:
        """Give all that it prints to `take`. Raises what that raises, when the command is gone."""
        with self._gone_if_broken():
            self._start().shutdown(socket.SHUT_WR)
            for piece in self._pieces():
                take(piece)
            return self._ended()

    def fed(self, pieces: Iterable[bytes]) -> Ended:
        """Write all `pieces` to it. Where they break off, the command is gone before its input ends."""
        with self._gone_if_broken():
            there = self._start()
            reading = threading.Thread(target=self._drain, daemon=True)
            reading.start()
            # Who has read something is never to see its end, and without its number could not be ended first.
            if not self._known.wait(_START):
                raise EngineDown(f"the engine did not start a command in {_START:g} s")
            whole = all(self._write(there, piece) for piece in pieces)
            self._whole()
            with contextlib.suppress(OSError):
                there.shutdown(socket.SHUT_WR)  # its input alone: what it prints is still read
            reading.join()
            ended = self._ended()
            if not whole and not ended.code:
                raise user("command_failed", f"{self._command[0]} ended before it had read everything")
            return ended

    def cut(self) -> None:
        """End the command, whatever it does."""
        self._cut.set()
        if self._socket is None:
            return
        self._known.wait(_SOON)
        if self._pid:
            kill = f"kill -9 -{self._pid} 2>/dev/null || kill -9 {self._pid}"
            with contextlib.suppress(DockerException, requests.RequestException):
                made = self._client.api.exec_create(self._container, ["/bin/sh", "-c", kill])
                self._client.api.exec_start(made["Id"])
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _gone_if_broken(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.cut()
            raise
        finally:
            if self._socket is not None:
                with contextlib.suppress(Exception):
                    self._kept.close()

    def _pieces(self) -> Iterator[bytes]:
        """What it prints; what it complains about is kept."""
        try:
            while header := self._read(HEADER.size):
                kind, size = HEADER.unpack(header)
                piece = self._read(size)
                if len(piece) < size:
                    raise EngineDown(_BROKE_OFF)
                if kind == STDOUT:
                    yield piece
                else:
                    self._hear(piece)
        finally:
            self._known.set()  # or never

    def _write(self, there: socket.socket, piece: bytes) -> bool:
        """False where nobody reads it any more: how the command ended says why."""
        self._whole()
        try:
            there.sendall(piece)
        except OSError:
            return False
        return True

    def _read(self, size: int) -> bytes:
        """So many bytes; none at the end."""
        try:
            found: bytes = self._stream.read(size)
        except (OSError, ValueError) as error:
            raise EngineDown(f"{_BROKE_OFF}: {error}") from None
        if 0 < len(found) < size:
            raise EngineDown(_BROKE_OFF)
        return found

    def _drain(self) -> None:
        with contextlib.suppress(EngineDown):  # how it ended the engine still knows
            for piece in self._pieces():
                self._tail = (self._tail + piece)[-_LAST:]

    def _hear(self, piece: bytes) -> None:
        self._said += piece
        if not self._pid:
            number, ended, rest = self._said.partition(b"\n")
            if not ended:
                return
            self._pid, self._said = int(number) if number.strip().isdigit() else 0, rest
            self._known.set()
        self._said = self._said[-_LAST:]

    def _ended(self) -> Ended:
        """How it ended; that the engine does not say so is no end."""
        until = time.monotonic() + _END
        while time.monotonic() < until:
            self._whole()
            found = self._client.api.exec_inspect(self._id)
            if not found["Running"] and found["ExitCode"] is not None:
                return Ended(int(found["ExitCode"]), (self._tail + self._said).decode(errors="replace"))
            time.sleep(_LOOK)
        raise EngineDown("the engine broke off the output of a command that still runs")

    def _whole(self) -> None:
        if self._cut.is_set():
            raise EngineDown("the command was ended")


def opened(client: docker.DockerClient, exec_id: str, *, tty: bool = False) -> tuple[Any, socket.socket, Any]:
    """Where its output is read from, where its input is written to, and what holds both.

    Not the SDK's own socket: what came in one piece with the head of the engine's answer is in the buffer.
    """
    api: Any = client.api
    if api.base_url.startswith(("https:", "http+docker://ssh", "http+docker://localnpipe")):
        raise user("command_failed", "This needs an engine at a unix socket, or at tcp:// without TLS")
    upgrade = {"Connection": "Upgrade", "Upgrade": "tcp"}
    url = api._url("/exec/{0}/start", exec_id)
    answer = api._post_json(url, headers=upgrade, data={"Tty": tty, "Detach": False}, stream=True)
    api._raise_for_status(answer)
    stream = answer.raw._fp.fp
    connection: socket.socket = stream.raw._sock
    connection.settimeout(None)  # a dump may be silent for as long as it waits for a lock
    return stream, connection, answer
