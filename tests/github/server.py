"""A web server inside the running event loop, which leaves the process's signals alone."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

GRACE_SECONDS = 1
IDLE_SECONDS = 600  # a connection that is closed just when somebody asks again is a lost request


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks every tenth of a second, which all tests together would wait for long.
        await self.leaving.wait()


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one."""
    listener = socket.create_server((host, port))
    # asyncio leaves it out for sockets like this one, and a body then waits 40 ms for its head to arrive.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Serve `app` on `listener` inside the block; at its end what still runs has a second."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        lifespan="off",
        proxy_headers=False,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        timeout_keep_alive=IDLE_SECONDS,
    )
    server = _Server(config)
    # Not a task group: what the block raises is to leave as it is, in no group of exceptions.
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await server.ready.wait()
        yield
    finally:
        server.leaving.set()
        await task
