"""What visitors of environments see where the app does not run, and for which names there are certificates.

The proxy sends an environment's visitors here while it rests, says by a header whose they are, and proves it.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import jinja2
import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.routing.caddy_config import ASKING, PROOF_HEADER, ROUTE_HEADER
from bot.routing.places import Page, owner_of, page, places
from bot.routing.proof import fits
from bot.routing.ways import environment_id
from bot.store.database import Store
from bot.store.outages import told
from bot.store.tables import Environment
from config.settings import Settings

# Seconds after which a visitor may come again, on each page; None where nobody knows.
_AGAIN = {Page.MAINTENANCE: 60, Page.ASLEEP: 3, Page.STOPPED: None}

_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
)
log = structlog.get_logger()

Wake = Callable[[int], Awaitable[None]]


class Visitors:
    """Answers them. `wake` is told of each environment that sleeps and is asked for, by its id.

    `key` is what the proxy proves itself with.
    """

    def __init__(self, store: Store, settings: Settings, wake: Wake, key: bytes) -> None:
        self._store = store
        self._settings = settings
        self._wake = wake
        self._key = key
        self._waking: set[int] = set()

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app`, but for visitors that the proxy sends here."""

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
            route, proven = headers.get(ROUTE_HEADER, ""), headers.get(PROOF_HEADER, "")
            answer = await self._page(route) if route and fits(self._key, route, proven) else app
            await answer(scope, receive, send)

        return either

    async def allowed(self, request: Request) -> Response:
        """Caddy asks whether a name is ours: https://caddyserver.com/docs/automatic-https#on-demand-tls."""
        if not fits(self._key, ASKING, request.query_params.get("proof", "")):
            return PlainTextResponse("only the proxy may ask this\n", 401)
        name = request.query_params.get("domain", "").lower().rstrip(".")
        async with self._store.reading() as session:
            owner = owner_of(name, self._settings.domain, await places(session)) if name else None
        return PlainTextResponse("yes\n" if owner else "no\n", 200 if owner else 404)

    async def _page(self, route: str) -> Response:
        number = environment_id(route)
        async with self._store.reading() as session:
            environment = None if number is None else await session.get(Environment, number)
        if environment is None or environment.id is None:
            return PlainTextResponse("Nothing is here.\n", 404)
        shown = page(environment)
        if shown is Page.ASLEEP:
            await self._woken(environment.id)
        # One that has just woken up is shown the same page once more: the proxy is about to know.
        return _shown(shown or Page.ASLEEP, environment)

    async def _woken(self, environment: int) -> None:
        if environment in self._waking:
            return
        self._waking.add(environment)
        try:
            await self._wake(environment)
        except Exception as error:
            told(log, "an environment was not woken", error, environment=environment)
        finally:
            self._waking.discard(environment)


def _shown(shown: Page, environment: Environment) -> Response:
    nonce, again = secrets.token_urlsafe(16), _AGAIN[shown]
    text = _templates.get_template(f"{shown}.html.j2").render(
        nonce=nonce, again=again, environment=environment
    )
    headers = {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        **({} if again is None else {"Retry-After": str(again)}),
    }
    return HTMLResponse(text, 503, headers)
