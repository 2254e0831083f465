"""Pure: Caddy's configuration for routes (https://caddyserver.com/docs/json/).

Where there is a folder that Caddy reads too, an upstream is not an address but `{file.…}`: Caddy reads the
file at each request. So a switch is the rename of a link (`bot.routing.addresses`), and Caddy's
configuration, which it only ever replaces as a whole, stays as it is. Why: see `bot.routing.caddy`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.routing.proof import proof
from bot.routing.proxy import Route, dialed
from config.networks import netloc
from config.settings import Settings

ROUTE_HEADER = "X-Blacktree-Route"
PROOF_HEADER = "X-Blacktree-Proof"
ASKING = "certificates"  # what is proven by the one who asks for which names they may be
NAMES = "names"  # the server of all host names

_HTTPS = 443
_NOTHING = {"handle": [{"handler": "static_response", "status_code": 404, "body": "Nothing is here.\n"}]}
_SECOND = 1_000_000_000  # Caddy's durations are nanoseconds
_TRY = 5 * _SECOND  # another upstream, or the same one again, is tried for so long
_TRY_EVERY = _SECOND // 10
_SICK = 2 * _SECOND  # an upstream that refused is left out for so long, where there are others
# Apps close idle connections: gunicorn after 2 s, node and uvicorn after 5 s. Who closes first loses nothing.
_KEPT = _SECOND
# When its configuration is replaced, Caddy lets WebSockets live on for so long. What ends them is the old
# release's own end, after its drain.
_STREAMS = 24 * 3600 * _SECOND


@dataclass(frozen=True)
class Serving:
    """How Caddy serves, for all routes."""

    bind: str = ""  # all addresses if empty
    http_port: int = 80
    https_port: int = 443
    tls: str = "acme"  # acme, internal, off
    acme_email: str = ""
    acme_directory: str = ""
    ask: str = ""  # URL that allows names for certificates on demand; certificates in advance if empty
    folder: Path | None = None  # of upstreams' addresses, the same path for Caddy
    key: bytes = field(default=b"", repr=False)  # proves to the bot that Caddy asks

    @classmethod
    def of(cls, settings: Settings, bot: str, folder: Path | None, key: bytes) -> Serving:
        """As the settings say; `bot` is HOST:PORT at which Caddy reaches the bot."""
        return cls(
            bind=settings.proxy_bind,
            http_port=settings.proxy_http_port,
            https_port=settings.proxy_https_port,
            tls=settings.proxy_tls,
            acme_email=settings.acme_email,
            acme_directory=settings.acme_directory,
            ask=f"http://{bot}/tls/allowed?proof={proof(key, ASKING)}" if settings.proxy_on_demand else "",
            folder=folder,
            key=key,
        )

    def listen(self, port: int) -> str:
        return netloc(self.bind, port)


def apps(routes: list[Route], serving: Serving) -> dict[str, Any]:
    """Caddy's apps for these routes. Host names get HTTPS, ports plain HTTP."""
    # Of two that take a request the first does: the one whose path says more.
    ordered = sorted(routes, key=lambda route: (-len(route.path), route.id))
    named = [route for route in ordered if route.host]
    ported: dict[str, list[Route]] = {}
    for route in ordered:
        if not route.host and route.port:
            ported.setdefault(port_server(route), []).append(route)
    servers = {
        name: {
            "listen": [serving.listen(theirs[0].port or 0)],
            "automatic_https": {"disable": True},
            "routes": [
                *(_route(route, serving) for route in theirs),
                *([_NOTHING] if all(route.path for route in theirs) else []),
            ],
        }
        for name, theirs in sorted(ported.items())
    }
    http: dict[str, Any] = {
        "servers": servers | (_names(named, serving) if named else {}),
        "metrics": {"per_host": True},
    }
    if named:
        http |= {"http_port": serving.http_port, "https_port": serving.https_port}
    return {"http": http, **(_tls(serving) if named and serving.tls != "off" else {})}


def port_server(route: Route) -> str:
    """The server of a route that is known by its port."""
    return f"port-{route.port}"


def _names(named: list[Route], serving: Serving) -> dict[str, Any]:
    """The server of all host names, and the one that sends plain HTTP there."""
    routes = [*(_route(route, serving) for route in named), _NOTHING]
    if serving.tls == "off":
        plain = {"listen": [serving.listen(serving.http_port)], "routes": routes}
        return {NAMES: {**plain, "automatic_https": {"disable": True}}}
    port = "" if serving.https_port == _HTTPS else f":{serving.https_port}"
    secure = {"Location": [f"https://{{http.request.host}}{port}{{http.request.uri}}"]}
    redirect = {
        "match": [{"host": list(dict.fromkeys(route.host for route in named))}],
        "handle": [{"handler": "static_response", "status_code": 308, "headers": secure}],
        "terminal": True,
    }
    return {
        NAMES: {
            "listen": [serving.listen(serving.https_port)],
            "routes": routes,
            "tls_connection_policies": [{}],
            "strict_sni_host": True,
            # Caddy's own redirects know no other port than 443.
            "automatic_https": {"disable_redirects": True},
        },
        "redirects": {"listen": [serving.listen(serving.http_port)], "routes": [redirect, _NOTHING]},
    }


def _tls(serving: Serving) -> dict[str, Any]:
    policy: dict[str, Any] = {}
    if serving.tls == "internal":
        policy["issuers"] = [{"module": "internal"}]
    elif serving.acme_email or serving.acme_directory:
        account = {"email": serving.acme_email, "ca": serving.acme_directory}
        policy["issuers"] = [{"module": "acme", **{key: value for key, value in account.items() if value}}]
    automation: dict[str, Any] = {"policies": [policy]}
    if serving.ask:
        policy["on_demand"] = True
        automation["on_demand"] = {"permission": {"module": "http", "endpoint": serving.ask}}
    # The machine's own store of trusted authorities is not ours to change.
    ours = {"pki": {"certificate_authorities": {"local": {"install_trust": False}}}}
    return {"tls": {"automation": automation}, **(ours if serving.tls == "internal" else {})}


def _route(route: Route, serving: Serving) -> dict[str, Any]:
    wanted = {
        **({"host": [route.host]} if route.host else {}),
        **({"path": [route.path, f"{route.path}/*"]} if route.path else {}),
    }
    match = {"match": [wanted]} if wanted else {}
    handle = [*_headers(route), *_auth(route), _upstreams(route, serving)]
    return {"@id": route.id, **match, "handle": handle, "terminal": True}


def _headers(route: Route) -> list[dict[str, Any]]:
    if not route.headers:
        return []
    added = {name: [_plain(value)] for name, value in route.headers}
    return [{"handler": "headers", "response": {"deferred": True, "set": added}}]


def _plain(text: str) -> str:
    """`text` as Caddy gives it out again: `{env.…}` or `{file.…}` would be the proxy's own secrets."""
    return text.replace("{", "\\{")


def _auth(route: Route) -> list[dict[str, Any]]:
    if not route.users:
        return []
    basic = {
        "hash": {"algorithm": "bcrypt"},
        "accounts": [{"username": name, "password": hashed} for name, hashed in route.users],
        "hash_cache": {},
    }
    return [{"handler": "authentication", "providers": {"http_basic": basic}}]


def _upstreams(route: Route, serving: Serving) -> dict[str, Any]:
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": _dial(route, place, serving)} for place in range(len(route.upstreams))],
        "load_balancing": {
            "selection_policy": {"policy": "least_conn"},
            "try_duration": _TRY,
            "try_interval": _TRY_EVERY,
        },
        # The only one is tried again instead: its address may be another one by then.
        **({"health_checks": {"passive": {"fail_duration": _SICK}}} if len(route.upstreams) > 1 else {}),
        "headers": {
            "request": {"set": {ROUTE_HEADER: [route.id], PROOF_HEADER: [proof(serving.key, route.id)]}}
        },
        "transport": {"protocol": "http", "keep_alive": {"idle_timeout": _KEPT}},
        "stream_close_delay": _STREAMS,
    }


def _dial(route: Route, place: int, serving: Serving) -> str:
    if serving.folder is None:
        return dialed(route.upstreams[place])
    return f"{{file.{serving.folder}/current/{slot(route.id, place)}}}"


def slot(route: str, place: int) -> str:
    """The file with the address of one of a route's upstreams."""
    return f"{route}.{place}"
