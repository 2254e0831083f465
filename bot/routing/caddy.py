"""Caddy, through its admin API (https://caddyserver.com/docs/api)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import httpx2

from bot.routing.proxy import ProxyDown, Route

# A reload also renews the admin API's listener, which may cut a connection that was just made. Both
# requests are the same when made twice.
_TRIES = 3
_AGAIN = 0.1
_TIMEOUT = 10.0  # seconds: a reload waits for nothing but the new listeners


class Caddy:
    """A Caddy whose admin API is at `admin_url`; it listens on `bind`, on all addresses if empty."""

    needs_port = True

    def __init__(self, http: httpx2.AsyncClient, admin_url: str, bind: str = "") -> None:
        self._http = http
        self._admin_url = admin_url
        self._bind = bind

    async def apply(self, routes: list[Route]) -> None:
        current = await self._request("GET", "/config/") or {}
        wanted = {**current, "apps": apps(routes, self._bind)}
        if wanted != current:
            await self._request("POST", "/load", wanted)

    async def check(self) -> str:
        await self._request("GET", "/config/")
        return f"Caddy at {self._admin_url}"

    async def _request(self, method: str, path: str, body: Any = None) -> Any:
        for _ in range(_TRIES - 1):
            with suppress(ProxyDown):
                return await self._ask(method, path, body)
            await asyncio.sleep(_AGAIN)
        return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        try:
            response = await self._http.request(
                method,
                self._admin_url + path,
                json=body,
                timeout=_TIMEOUT,
                headers={"origin": self._admin_url},
            )
        except httpx2.HTTPError as error:
            raise ProxyDown(f"Caddy at {self._admin_url} does not answer: {error}") from error
        if response.status_code >= 300:
            raise ProxyDown(f"Caddy refuses {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None


def apps(routes: list[Route], bind: str) -> dict[str, Any]:
    """Pure: Caddy's configuration for these routes. Host names get HTTPS, ports plain HTTP."""
    address = f"[{bind}]" if ":" in bind and not bind.startswith("[") else bind
    by_port = {
        f"port-{route.port}": {
            "listen": [f"{address}:{route.port}"],
            "automatic_https": {"disable": True},
            "routes": [_route(route)],
        }
        for route in sorted(routes, key=lambda route: route.id)
        if route.host is None
    }
    named = [_route(route) for route in sorted(routes, key=lambda route: route.id) if route.host is not None]
    by_name = {"names": {"listen": [f"{address}:443"], "routes": named}} if named else {}
    return {"http": {"servers": by_port | by_name}}


def _route(route: Route) -> dict[str, Any]:
    match = {"match": [{"host": [route.host]}]} if route.host else {}
    handle = {"handler": "reverse_proxy", "upstreams": [{"dial": route.upstream}]}
    return {"@id": route.id, **match, "handle": [handle], "terminal": True}
