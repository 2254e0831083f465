"""The bot's HTTP: the receiver, health, the API, and a page for each job."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from bot.store.database import Store
from bot.web.visitors import Visitors
from bot.webhooks import Receiver
from workers.contract.queue import BotQueue, QueueDown


class Routed(Protocol):
    """A part of the API."""

    def routes(self) -> list[Route]: ...


log = structlog.get_logger()


def application(
    receiver: Receiver, api: Sequence[Routed], store: Store, queue: BotQueue, visitors: Visitors
) -> Starlette:
    """All routes. A stack trace never reaches whoever asks."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(_request: Request) -> Response:
        parts, down = {}, False
        for name, check in (("store", store.check), ("queue", queue.check)):
            try:
                parts[name] = await check()
            except (SQLAlchemyError, OSError, QueueDown) as error:
                parts[name], down = f"down: {type(error).__name__}", True
        return JSONResponse(
            {"status": "down" if down else "ready", **parts}, status_code=503 if down else 200
        )

    async def job_page(request: Request) -> Response:
        return RedirectResponse(f"/api/v1/jobs/{request.path_params['id']}/log")

    async def set_up(_request: Request) -> Response:
        raise HTTPException(404, "this instance is set up already")

    return Starlette(
        routes=[
            Route("/webhooks/github", receiver.receive, methods=["POST"]),
            Route("/healthz", alive),
            Route("/readyz", ready),
            Route("/jobs/{id}", job_page),
            Route("/setup", set_up),
            Route("/setup/done", set_up),
            Route("/tls/allowed", visitors.allowed),
            Mount("/api/v1", routes=[route for part in api for route in part.routes()]),
        ],
        middleware=[Middleware(visitors.before)],
        exception_handlers={HTTPException: _refused, Exception: _broken},
    )


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for nothing else"  # noqa: S101
    return JSONResponse({"message": error.detail}, status_code=error.status_code, headers=error.headers)


async def _broken(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return JSONResponse({"message": "this is our fault; it is in the log"}, status_code=500)
