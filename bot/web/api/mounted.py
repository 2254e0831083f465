"""All operations as routes below /api/v1: limits, keys, openapi.json."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from bot.store.database import Store
from bot.web.api import openapi
from bot.web.api.keys import Keys
from bot.web.api.operation import Operation, path_of
from bot.web.bodies import bounded
from bot.web.rules import Rule
from bot.web.throttle import Rate

PREFIX = "/api/v1"
MOST_BODY = 64 * 1024  # bytes
RATES = (6000, 600)  # reads and writes a minute, of one token at one address


class Operated(Protocol):
    """A part of the API."""

    def operations(self) -> list[Operation]: ...


def mounted(parts: Sequence[Operated], store: Store, rates: tuple[int, int] = RATES) -> Mount:
    """The routes of these parts."""
    operations = _all(parts)
    limits, keys = (Rate(rates[0]), Rate(rates[1])), Keys(store)
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.template, {})[operation.method] = operation
    routes = [
        Route(path, _endpoint(methods, limits, keys), methods=list(methods))
        for path, methods in by_path.items()
    ]
    return Mount(PREFIX, routes=routes)


def ruled(parts: Sequence[Operated]) -> dict[str, Rule]:
    """The rule of each route, by its name as bot/web/rules.py has it."""
    return {f"{one.method} {PREFIX}{one.template}": one.rule for one in _all(parts)}


def _all(parts: Sequence[Operated]) -> list[Operation]:
    operations = [operation for part in parts for operation in part.operations()]
    return [*operations, openapi.operation(operations)]


def _endpoint(
    methods: dict[str, Operation], rates: tuple[Rate, Rate], keys: Keys
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        if seconds := rates[operation.method != "GET"].wait(_who(request)):
            again = {"Retry-After": f"{int(seconds) + 1}"}
            raise HTTPException(429, f"you ask too often: wait {int(seconds) + 1} seconds", again)
        path_of(request, operation.names)
        raw = b"" if operation.method == "GET" else await bounded(request, MOST_BODY, "body")
        call = operation.call(request, raw)

        async def done() -> Response:
            return operation.answer(request, await operation.does(call))

        return await keys.once(request, raw, done) if operation.makes else await done()

    return endpoint


def _who(request: Request) -> str:
    """Whoever asks, as limits count: strangers do not come here."""
    address = request.client.host if request.client else ""
    return hashlib.sha256(f"{request.headers.get('authorization', '')}\0{address}".encode()).hexdigest()
