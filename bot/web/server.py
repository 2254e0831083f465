"""The HTTP server. Who has proven nothing yet gets little of it: few bytes, few seconds, one place of few."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import heapq
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import structlog
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from bot.store.outages import told, why
from bot.web import problems
from bot.web.rules import SOCKETS
from config.errors import ConfigError
from config.networks import netloc
from config.settings import Settings

log = structlog.get_logger()

_GRACE = 10  # seconds that open requests get to end
_MOST = 512  # connections: with all else below the 1,024 files that a process may open on most machines
_ROOM = 32  # that end together when there are more
_HEAD = 32 * 1024  # bytes of a request's head; httptools itself knows no limit
_FRAME = 64 * 1024  # bytes of one message over a WebSocket
_FRAMES = 1024  # that one message comes in
_AHEAD = 16  # requests of one connection that wait for the answer to the one before them
_READ = 16 * 1024  # bytes that are read from a connection at once
_ACCEPTED = 64  # connections at once: those that are there get on between
_QUEUED = 1024  # that wait in the kernel to be accepted
_TICKS = 5  # of uvicorn's, ten a second, between two looks at who is overdue


class Phase(enum.Enum):
    """What a connection waits for, and for how many seconds at most."""

    HEAD = 10.0  # a request, or the next one
    BODY = 30.0  # the rest of its body
    ANSWER = float("inf")  # the bot
    READER = 60.0  # whoever asked, to read the answer
    END = 10.0  # the last bytes to leave


_SENTENCES = {
    Phase.HEAD: "the request was not whole within {:.0f} seconds",
    Phase.BODY: "the body was not whole within {:.0f} seconds",
}
_STOPPING = "this bot stops: ask again when it is back"
_CROWDED = "too many ask at once: come again"


class Guarded(HttpToolsProtocol, asyncio.BufferedProtocol):
    """A connection, of which is known how long it has been waiting for what.

    All read into one buffer, since what is read is copied out at once, and none reads on before the bot took
    what there is: a thousand connections that send do not hold a thousand buffers.
    """

    _buffer = memoryview(bytearray(_READ))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._mark = (Phase.HEAD, 0)
        self._answers = 0
        self._dry = 0  # bytes since a head was whole or a part of a body came
        self._in_head = self._in_body = False
        self.since = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST:
            self._make_room()

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._dry += nbytes
        self.data_received(bytes(self._buffer[:nbytes]))
        if self._dry > _HEAD and not self.transport.is_closing():
            self.send_400_response(f"A request's head has at most {_HEAD} bytes.")
        elif len(self.pipeline) > _AHEAD:
            self.transport.close()
        elif self._in_body and self.cycle.body and not self.cycle.response_complete:
            self.flow.pause_reading()

    def _should_upgrade(self) -> bool:
        """To a WebSocket: what asks anything else for one is answered as if it had not."""
        return bool(SOCKETS.fullmatch(self.url)) and super()._should_upgrade()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # not what follows a body, of which there may be any number
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._dry, self._in_head, self._in_body = 0, False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._dry = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._answers += 1
        super().on_response_complete()

    @property
    def address(self) -> str:
        """Where it comes from: that of a proxy, if there is one."""
        return self.client[0] if self.client else ""

    @property
    def phase(self) -> Phase:
        if self.transport.is_closing():
            return Phase.END
        if self.flow.write_paused:
            return Phase.READER
        if self._in_body:
            return Phase.BODY
        return Phase.HEAD if self.cycle is None or self.cycle.response_complete else Phase.ANSWER

    def look(self, now: float) -> None:
        """End it if it is overdue."""
        phase = self.phase
        if (mark := (phase, self._answers)) != self._mark:
            self._mark, self.since = mark, now
        if now - self.since <= phase.value:
            return
        if phase in _SENTENCES:
            self.end(HTTPStatus.REQUEST_TIMEOUT, _SENTENCES[phase].format(phase.value))
        else:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops: who has not asked yet can ask again."""
        if self.phase is Phase.BODY:
            self.end(HTTPStatus.SERVICE_UNAVAILABLE, _STOPPING)
        else:
            super().shutdown()

    def end(self, status: HTTPStatus, sentence: str) -> None:
        """Close it; who has begun to ask and got no answer yet is told why."""
        answered = self.phase is Phase.BODY and self.cycle.response_started
        begun = self.phase is Phase.BODY or self._in_head or not self._answers
        if begun and not answered:
            self.transport.write(_answer(status, sentence))
        self.transport.close()

    def _make_room(self) -> None:
        """Places for newcomers, from those who take longest to ask, of the address that has most of them.

        Where nobody takes long, this one is too many.
        """
        waiting = [one for one in self.connections if isinstance(one, Guarded) and one.phase in _SENTENCES]
        [(most, _)] = Counter(one.address for one in waiting).most_common(1) or [("", 0)]
        slow = [one for one in waiting if one.address == most]
        for one in heapq.nsmallest(_ROOM, slow, key=lambda one: one.since) or [self]:
            one.end(HTTPStatus.SERVICE_UNAVAILABLE, _CROWDED)
            self.connections.discard(one)  # at once: the next newcomer need not make room again


class Line(WebSocketsSansIOProtocol):
    """A WebSocket on which nothing piles up: no answers that nobody reads, no pieces of one message."""

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:  # they ask, and read no answer
            self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        if len(self.frames) < _FRAMES:
            super().handle_cont(event)
        else:  # of which each may be empty, so that the message never grows
            self.transport.abort()

    def send_receive_event_to_app(self) -> None:
        """What is no text says nothing: uvicorn (0.54) would tell it as an error, with a traceback."""
        if self.curr_msg_data_type == "text":
            data = b"".join(self.frames)
            try:
                data.decode()
            except UnicodeDecodeError:
                data = b""
            self.frames = [data]
        super().send_receive_event_to_app()


def _answer(status: HTTPStatus, sentence: str) -> bytes:
    body = json.dumps(problems.told(status.value, sentence)).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {problems.MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n"
    )
    again = "retry-after: 10\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    return f"{head}{again}\r\n".encode() + body


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain the whole process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(_QUEUED)  # asyncio's one number is for both

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                if isinstance(connection, Guarded):
                    connection.look(now)
        return await super().on_tick(counter)


def _calm(web: ASGIApp) -> ASGIApp:
    """`web`, whose answer was given when it raises: what others did not do is a line, and ends here.

    Starlette raises it again for the server, which would tell it with a traceback.
    """

    async def calm(scope: Scope, receive: Receive, send: Send) -> None:
        refused = False

        async def noting(message: Message) -> None:
            nonlocal refused
            refused = refused or message["type"] == "websocket.http.response.start"
            await send(message)

        try:
            await web(scope, receive, noting if scope["type"] == "websocket" else send)
        except Exception as error:
            if not why(error):
                raise
            told(log, "request failed", error, path=scope["path"])
        if refused:  # else uvicorn (0.54) says that nobody answered, as an error, to whoever reads the log
            raise ClientDisconnected

    return calm


@asynccontextmanager
async def listening(web: ASGIApp, settings: Settings) -> AsyncIterator[str]:
    """The web application on its port, which is open when this gives its URL. Raises ConfigError."""
    config = uvicorn.Config(
        _calm(web),
        host=settings.host,
        port=settings.port,
        http=Guarded,
        ws=Line,
        ws_max_size=_FRAME,
        ws_per_message_deflate=False,  # what is typed is short, and a secret may be among it
        backlog=_ACCEPTED,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config)
    try:
        listener = config.bind_socket()
    except SystemExit:
        raise ConfigError(
            f"PORT: {netloc(settings.host, settings.port)} can't be listened on; is it taken?"
        ) from None
    # uvicorn would give it to its workers. Here whoever we start, and who outlives us, would keep the port.
    listener.set_inheritable(False)
    # asyncio does so by itself only for sockets that name their protocol: an answer's body would wait for
    # the acknowledgement of its head, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.listen(_QUEUED)  # who asks before the server runs is answered when it does
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://{netloc(settings.host, listener.getsockname()[1])}"
        finally:
            server.should_exit = True
            await serving
