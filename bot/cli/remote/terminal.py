"""A terminal here, joined by a WebSocket to a command that runs elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from config.trust import trusted
from workers.contract.shells import (
    ERR,
    PIECE,
    WINDOW,
    Began,
    Eof,
    Over,
    Sized,
    Took,
    Wanted,
    Why,
    to_person,
)
from workers.contract.words import Value

BROKEN = 255  # as ssh says it
_SECONDS = 30.0  # until a bot that says nothing is away
_LARGEST = 64 * 1024  # bytes of one message
_DEADLY = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_TERM = re.compile(r"[A-Za-z0-9_.+-]{1,64}")
_TOO_MUCH = (
    "that is no command line for a bot: 1,000 words of 32,000 characters at most, 64 KB together, all of "
    "them text. Give what is long by its input: blacktree exec ENVIRONMENT -T -- sh < FILE"
)


class Refused(Exception):
    """The bot said no to the line itself."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status, self.body = status, body


class Broken(Exception):
    """The line, or the shell at its other end, broke; the text says how."""


def kind(*, interactive: bool) -> dict[str, Any]:
    """What is told of the terminal here: none where the input is not one."""
    if not (interactive and sys.stdin.isatty() and sys.stdout.isatty()):
        return {"tty": False}
    term = os.environ.get("TERM", "")
    rows, columns = _size()
    return {"tty": True, "term": term if _TERM.fullmatch(term) else "", "rows": rows, "columns": columns}


def wants(command: Sequence[str], process: str, *, interactive: bool) -> Wanted:
    """What is asked for. Raises Broken where the bot would not take that much."""
    try:
        wanted = Wanted(command=list(command), process=process, **kind(interactive=interactive))
        small = len(wanted.model_dump_json().encode()) <= _LARGEST
    except ValueError:  # of pydantic: too many words, a long one, or bytes that are no text
        small = False
    if not small:
        raise Broken(_TOO_MUCH)
    return wanted


async def run(line: str, token: str, wanted: Wanted) -> int:
    """The command's exit code. Raises Refused, Broken."""
    headers = {"Authorization": f"Bearer {token}"}
    secure: dict[str, Any] = {"ssl": trusted()} if line.startswith("wss:") else {}
    try:
        async with connect(
            line,
            additional_headers=headers,
            user_agent_header="blacktree",
            compression=None,
            max_size=_LARGEST,
            open_timeout=_SECONDS,
            **secure,
        ) as socket:
            await socket.send(wanted.model_dump_json())
            return await Shell(socket, wanted).run()
    except InvalidStatus as error:
        raise Refused(error.response.status_code, bytes(error.response.body or b"")) from None
    except ConnectionClosed as error:
        raise Broken(f"the line to the bot broke: {error}") from None
    except (OSError, WebSocketException, TimeoutError) as error:
        raise Broken(f"{line.partition('/api/')[0]} does not answer ({error}): is it up?") from None
    except ValueError:  # of pydantic
        raise Broken("the bot says what this blacktree does not know: are they of one version?") from None


class Shell:
    """One command, from when it was asked for to its end."""

    def __init__(self, socket: ClientConnection, wanted: Wanted) -> None:
        self._socket = socket
        self._wanted = wanted
        self._room = WINDOW
        self._more = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._input: asyncio.Queue[bytes] = asyncio.Queue(1)

    async def run(self) -> int:
        """Raises Broken, ConnectionClosed."""
        with _raw() if self._wanted.tty else contextlib.nullcontext():
            typing: list[asyncio.Task[None]] = []
            try:
                over = await self._hearing(typing)
            finally:
                for task in typing:
                    task.cancel()
                await asyncio.gather(*typing, return_exceptions=True)
        if over.why is Why.ENDED and over.code is not None:
            return over.code
        raise Broken(over.sentence or over.why.value)

    async def _hearing(self, typing: list[asyncio.Task[None]]) -> Over:
        """Print what comes, and say so; from its beginning on, send what is typed."""
        async for message in self._socket:
            if isinstance(message, bytes):
                try:
                    await asyncio.to_thread(_print, 2 if message[0] == ERR else 1, message[1:])
                except BrokenPipeError:
                    raise Broken("whoever reads what it prints has gone") from None
                except OSError as error:
                    raise Broken(f"what it prints cannot be written here: {error.strerror}") from None
                await self._say(Took(bytes=len(message) - 1))
                continue
            what = to_person.validate_json(message)
            if isinstance(what, Over):
                return what
            if isinstance(what, Took):
                self._room += what.bytes
                self._more.set()
            elif isinstance(what, Began):
                typing.append(asyncio.create_task(self._typing()))
                if self._wanted.tty:
                    typing.append(asyncio.create_task(self._sizing()))
        raise Broken("the bot closed the line")

    async def _typing(self) -> None:
        # A read of a terminal can't be called off: the thread is left behind where one is waited for.
        threading.Thread(target=self._read, daemon=True).start()
        while data := await self._input.get():
            while data:
                while not self._room:
                    self._more.clear()
                    await self._more.wait()
                piece, data = data[: self._room], data[self._room :]
                self._room -= len(piece)
                await self._socket.send(piece)
        await self._say(Eof())

    def _read(self) -> None:
        """In a thread: what comes in, and nothing at its end."""
        data = b"-"
        with contextlib.suppress(RuntimeError):  # the loop has ended
            while data:
                try:
                    data = os.read(0, PIECE)
                except OSError:
                    data = b""
                asyncio.run_coroutine_threadsafe(self._input.put(data), self._loop).result()

    async def _sizing(self) -> None:
        changed = asyncio.Event()
        self._loop.add_signal_handler(signal.SIGWINCH, changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                rows, columns = _size()
                await self._say(Sized(rows=rows, columns=columns))
        finally:
            self._loop.remove_signal_handler(signal.SIGWINCH)

    async def _say(self, what: Value) -> None:
        await self._socket.send(what.model_dump_json())


def _print(to: int, data: bytes) -> None:
    """In a thread: it waits for whoever reads it."""
    while data:
        data = data[os.write(to, data) :]


def _size() -> tuple[int, int]:
    """Rows and columns of the terminal here."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return 24, 80
    return min(max(rows, 1), 1000), min(max(columns, 1), 1000)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the other end; the terminal is as before afterwards, whichever signal ends this."""
    before = termios.tcgetattr(0)

    def die(number: int, _frame: FrameType | None) -> None:
        # By the signal itself, at once: a terminal that takes nothing more is not waited for.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, before)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    known = {number: signal.getsignal(number) for number in _DEADLY}
    heeded = {number: was for number, was in known.items() if was is not signal.SIG_IGN}  # as nohup has it
    try:
        for number in heeded:
            signal.signal(number, die)
        tty.setraw(0)
        yield
    finally:
        with contextlib.suppress(termios.error):  # a terminal that was closed
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        for number, was in heeded.items():
            signal.signal(number, was)
