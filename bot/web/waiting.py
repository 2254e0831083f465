"""What a bot answers whose store is away at its start: that it lives, and to come again for all else."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot.web import problems
from bot.web.access import Access
from config.outages import Waits

_AGAIN = {"Retry-After": "5"}  # seconds


def waiting(waits: Waits, access: Access) -> Starlette:
    """All routes. Why it waits is for who has the token."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        why = {"store": f"down: {waits.why}"} if access.knows(request) else {}
        return JSONResponse({"status": "down", **why}, status_code=503, headers=_AGAIN)

    async def later(request: Request) -> Response:
        sentence = "the bot waits for its store: ask again when it is back"
        if request.url.path.startswith(problems.BELOW):
            return problems.problem(503, sentence, _AGAIN)
        return JSONResponse({"message": sentence}, status_code=503, headers=_AGAIN)

    every = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(
        routes=[
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/{path:path}", later, methods=every),
        ]
    )
