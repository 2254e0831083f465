"""The bot's HTTP: the receiver, health, the API, and a page for each job. Who asks has to prove who it is."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from starlette.applications import Starlette
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute

from bot.intake.receiver import PATH, Receiver
from bot.store.database import Store
from bot.store.outages import why
from bot.web import problems
from bot.web.access import METRICS, Access
from bot.web.api.mounted import RATES, Operated, mounted, ruled
from bot.web.badges import Badges
from bot.web.guard import Guard
from bot.web.metrics import Metrics
from bot.web.pages.site import Site
from bot.web.rules import RULES
from bot.web.visitors import Visitors
from workers.contract.queue import BotQueue


class _Number(IntegerConvertor):
    """Of a path: one with thousands of digits is none, and not read, which Python refuses to do."""

    regex = "[0-9]{1,18}"


register_url_convertor("int", _Number())

log = structlog.get_logger()


def application(
    receiver: Receiver,
    api: Sequence[Operated],
    store: Store,
    queue: BotQueue,
    visitors: Visitors,
    access: Access,
    metrics: Metrics,
    site: Site | None = None,
    rates: tuple[int, int] = RATES,
    sockets: Sequence[WebSocketRoute] = (),
) -> Starlette:
    """All routes. A stack trace never reaches whoever asks. Without a `site` there are no pages."""

    async def alive(_request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def ready(request: Request) -> Response:
        """Whether store and queue answer; what they are is for who has the token."""
        parts, down = {}, False
        for name, check in (("store", store.check), ("queue", queue.check)):
            try:
                parts[name] = await check()
            except Exception as error:
                if not why(error):
                    raise
                parts[name], down = f"down: {why(error)}", True
        told = {"status": "down" if down else "ready", **(parts if access.knows(request) else {})}
        return JSONResponse(told, status_code=503 if down else 200)

    async def job_page(request: Request) -> Response:
        return RedirectResponse(f"/api/v1/jobs/{request.path_params['id']}/log")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for nothing else"  # noqa: S101
        if request.url.path.startswith(problems.BELOW):
            return problems.refused(error)
        page = site.wrong(request, error.status_code, error.detail) if site else None
        message = {"message": error.detail}
        return page or JSONResponse(message, status_code=error.status_code, headers=error.headers)

    async def set_up(_request: Request) -> Response:
        raise HTTPException(404, "this instance is set up already")

    guard = Guard(store, access.permissions, {**RULES, **ruled(api)})
    web = Starlette(
        routes=guard.before(
            [
                Route(PATH, receiver, methods=["POST"]),
                Route("/healthz", alive),
                Route("/readyz", ready),
                Route(METRICS, metrics.show),
                *(site.routes() if site else [Route("/jobs/{id}", job_page)]),
                Route("/setup", set_up),
                Route("/setup/done", set_up),
                Route("/tls/allowed", visitors.allowed),
                *Badges(store).routes(),
                *sockets,
                mounted(api, store, rates),
            ]
        ),
        middleware=[Middleware(visitors.before), Middleware(receiver.before), Middleware(access.before)],
        exception_handlers={HTTPException: refused, Exception: _broken},
    )
    web.state.rules = guard.rules
    return web


async def _broken(request: Request, error: Exception) -> Response:
    if away := why(error):  # told by whoever serves, whichever application it is
        sentence = "what this needs is away just now; it is in the log: ask again"
    else:
        sentence = "this is our fault; it is in the log"
        log.error("request failed", path=request.url.path, exc_info=error)
    status, again = (503, {"Retry-After": "5"}) if away else (500, {})
    if request.url.path.startswith(problems.BELOW):
        return problems.problem(status, sentence, again)
    return JSONResponse({"message": sentence}, status_code=status, headers=again)
