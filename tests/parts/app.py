"""An app to deploy, as a process of its own: python -m tests.parts.app PORT NAME."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

_CHUNKS = 40


def application(name: str) -> Starlette:
    """It says its name at once, slowly, bit by bit, and through a WebSocket."""

    async def quick(_request: Request) -> Response:
        return PlainTextResponse(name)

    async def slow(request: Request) -> Response:
        await asyncio.sleep(float(request.query_params.get("seconds", "2")))
        return PlainTextResponse(name)

    async def download(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(_CHUNKS):
                yield name.encode()
                await asyncio.sleep(0.1)

        return StreamingResponse(chunks())

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(f"{name}: {text}")

    async def headers(request: Request) -> Response:
        return PlainTextResponse("\n".join(f"{key}: {value}" for key, value in request.headers.items()))

    return Starlette(
        routes=[
            Route("/", quick, methods=["GET", "POST"]),
            Route("/slow", slow),
            Route("/download", download),
            Route("/headers", headers),
            WebSocketRoute("/echo", echo),
        ]
    )


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[2]), port=int(sys.argv[1]), access_log=False, log_level="warning")
