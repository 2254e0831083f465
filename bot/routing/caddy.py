"""Caddy, through its admin API (https://caddyserver.com/docs/api).

Why a switch is no change of Caddy's configuration (measured with Caddy 2.11.7, two processors that were
busy, switches 0.3 s apart):

| what                                    | wrk, 32 connections | hey, no keep-alive | hey, keep-alive |
|-----------------------------------------|---------------------|--------------------|-----------------|
| POST /load, 30 times                    | 512 of 95,500 lost  | 21 of 5,280 lost   | 0 of 17,600     |
| the same, `Connection: close` before it | 235 of 150,000      | 7 of 13,400        | 63 of 44,700    |
| the same, listening on an inherited fd  | 283 of 77,400       | 2 of 3,840         | 0 of 12,800     |
| the same, net.ipv4.tcp_migrate_req=1    |                     | 0 of 5,280         |                 |
| `{file.…}` renamed, 30 times            | 0 of 88,100         | 0 of 5,280         | 0 of 17,600     |

Every change, a PATCH of one `@id` too, starts new servers and shuts the old ones down. That closes idle
connections just when the next request may be under way on them (wrk counts it; Go's client and browsers ask
again), and with SO_REUSEPORT whatever waits in the old listener to be accepted is reset, unless Linux moves
it (net.ipv4.tcp_migrate_req, which compose.yaml sets). `grace_period`, `shutdown_delay` and
`stream_close_delay` are about what is open, none is about that. Upstreams from DNS (`dynamic_upstreams`) are
cached, and would need a name server that lives as long as Caddy does.

So addresses are in files that Caddy reads at each request, which costs nothing that could be measured, and
switches, pages and everything else that changes often is a rename. The configuration changes when an
environment comes or goes, or its name, headers, users or number of replicas change. WebSockets, downloads
and slow answers live through both. 100 switches in a row, 0.1 s apart, wrk and hey with and without
keep-alive at once: 0 of 19,900 requests failed; by POST /load it was 517 of 23,900.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from bot.routing.addresses import Addresses, bridging, slots
from bot.routing.caddy_config import NAMES, Serving, apps, port_server
from bot.routing.proxy import ProxyDown, Route
from config.trust import trusted

# A reload also renews the admin API's listener, which may cut a connection that was just made. All
# requests are the same when made twice.
_TRIES = 3
_AGAIN = 0.1
_ENDED, _OPEN = "caddy_http_request_duration_seconds_count", "caddy_http_requests_in_flight"
_TIMEOUT = 10.0  # seconds: a reload waits for nothing but the new listeners


_UNIX = "unix://"


def admin(place: str) -> httpx2.AsyncClient:
    """A client of the admin API at `place`: unix:///PATH of its socket, or a URL, which may hold a login."""
    if place.startswith(_UNIX):
        transport = httpx2.AsyncHTTPTransport(verify=trusted(), uds=place.removeprefix(_UNIX))
        return httpx2.AsyncClient(verify=trusted(), transport=transport, base_url="http://127.0.0.1")
    url = httpx2.URL(place)
    known = (url.username, url.password) if url.userinfo else None
    bare = str(url.copy_with(userinfo=b"")).rstrip("/")
    return httpx2.AsyncClient(verify=trusted(), base_url=bare, auth=known, headers={"origin": bare})


class Caddy:
    """A Caddy whose admin API `http` speaks to, at `place`."""

    switches = True

    def __init__(self, http: httpx2.AsyncClient, place: str, serving: Serving) -> None:
        self._http = http
        self._place = place if place.startswith(_UNIX) else str(http.base_url).rstrip("/")
        self._serving = serving
        self._addresses = Addresses(serving.folder) if serving.folder else None
        self._routes: list[Route] = []
        self._seen: dict[str, float] | None = None

    async def apply(self, routes: list[Route]) -> None:
        current = await self._json("GET", "/config/") or {}
        wanted = {**current, "apps": apps(routes, self._serving)}
        self._routes = list({route.host or route.port: route for route in reversed(routes)}.values())
        if wanted != current:
            await self._write(routes, for_both=True)
            await self._request("POST", "/load", wanted)
        await self._write(routes, for_both=False)

    async def check(self) -> str:
        await self._request("GET", "/config/")
        return f"Caddy at {self._place}"

    async def requests(self) -> dict[str, int]:
        """Caddy counts; a change of its configuration starts the count anew. The first look only learns."""
        if not self._routes:
            return {}
        told = (await self._request("GET", "/metrics")).text
        seen = await asyncio.to_thread(uses, told, self._routes)
        before, self._seen = self._seen, {route: use.ended for route, use in seen.items()}
        if before is None:
            before = self._seen
        came = {route: _came(before.get(route, 0), use.ended) for route, use in seen.items()}
        return {route: came[route] for route, use in seen.items() if came[route] or use.open}

    async def _write(self, routes: list[Route], *, for_both: bool) -> None:
        """Make the addresses current: for this configuration, or also for the one that is about to go."""
        if self._addresses is None:
            return
        try:
            present = await asyncio.to_thread(self._addresses.read) if for_both else {}
            wanted = bridging(present, routes) if for_both else slots(routes)
            await asyncio.to_thread(self._addresses.write, wanted)
        except OSError as error:
            raise ProxyDown(f"the addresses in {self._serving.folder} can't be written: {error}") from error

    async def _json(self, method: str, path: str) -> Any:
        response = await self._request(method, path)
        return response.json() if response.content else None

    async def _request(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        for _ in range(_TRIES - 1):
            with suppress(ProxyDown):
                return await self._ask(method, path, body)
            await asyncio.sleep(_AGAIN)
        return await self._ask(method, path, body)

    async def _ask(self, method: str, path: str, body: Any) -> httpx2.Response:
        try:
            response = await self._http.request(method, path, json=body, timeout=_TIMEOUT)
        except httpx2.HTTPError as error:
            raise ProxyDown(f"Caddy at {self._place} does not answer: {error}") from error
        if response.status_code >= 300:
            raise ProxyDown(f"Caddy refuses {path}: {response.status_code} {response.text[:500]}")
        return response


@dataclass(frozen=True)
class Use:
    """How many requests of a route have ended since Caddy's configuration changed, and are open."""

    ended: float = 0
    open: float = 0


def uses(metrics: str, routes: list[Route]) -> dict[str, Use]:
    """Pure: how much each route is used, from Caddy's metrics. Whom basic auth refused does not use it."""
    asked = "".join(line for line in metrics.splitlines(keepends=True) if line.startswith((_ENDED, _OPEN)))
    samples = [sample for family in text_string_to_metric_families(asked) for sample in family.samples]
    return {
        route.id: Use(
            ended=sum(
                sample.value
                for sample in samples
                if sample.name == _ENDED
                and _of(route, sample)
                and not (route.users and sample.labels["code"] == "401")
            ),
            open=sum(sample.value for sample in samples if sample.name == _OPEN and _of(route, sample)),
        )
        for route in routes
    }


def _came(before: float, ended: float) -> int:
    return int(ended - before if ended >= before else ended)


def _of(route: Route, sample: Sample) -> bool:
    server, host = sample.labels["server"], sample.labels["host"].partition(":")[0]
    return (server, host) == (NAMES, route.host) if route.host else server == port_server(route)
