"""The right that each route needs: of pages in a table here, of the API in its own table of operations.

What is in neither is for the administrators alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute
from starlette.types import Scope

from bot.github.people import CALLBACK
from bot.web.assets import STATIC
from bot.web.rights import Right

SIGN_IN = "/sign-in"
GITHUB = "/sign-in/github"


class Of(Enum):
    """Whose right it is: the repository that the path leads to, any, or none."""

    ANYBODY = "open to all, or proves itself"
    KNOWN = "whoever proved who they are"
    SOME = "likewise; told of what they may read alone"
    INSTANCE = "the instance's administrators"
    REPOSITORY = "repository"
    RUN = "run"
    JOB = "job"
    ENVIRONMENT = "environment"
    RELEASE = "release"
    DELIVERY = "delivery"
    BADGE = "badge"  # its repository's; of a public one everybody's
    NAMED = "of the repository that the body names: guard.allows"


@dataclass(frozen=True)
class Rule:
    """A right `of` something. `audited`: whether it is written down when it succeeds."""

    of: Of
    right: Right = Right.READ
    audited: bool = False

    @property
    def needs(self) -> str:
        """In a word: what the API's description says."""
        whose = {Of.ANYBODY: "nothing", Of.KNOWN: "token", Of.SOME: "token", Of.INSTANCE: "instance"}
        return whose.get(self.of, self.right.name.lower())


OPEN, KNOWN, SOME, INSTANCE = (Rule(of) for of in (Of.ANYBODY, Of.KNOWN, Of.SOME, Of.INSTANCE))


PRINTED = Rule(Of.ENVIRONMENT, Right.DEPLOY)


def reads(of: Of) -> Rule:
    return Rule(of)


def deploys(of: Of) -> Rule:
    return Rule(of, Right.DEPLOY, audited=True)


def administers(of: Of) -> Rule:
    return Rule(of, Right.ADMIN, audited=True)


BADGES = "/badges/"
_ENVIRONMENT = "/environments/{id:int}"
_REPOSITORY = "/repositories/{owner}/{name}"
_TRIED = (
    "channels/{channel}/test",
    "webhooks/{id:int}/test",
    "webhooks/{id:int}/deliveries/{delivery:int}/redeliver",
)

# The two WebSockets that there are: for programs, and for pages. No other request becomes one (server.py).
WS = "WS"
SHELL, SHELL_PAGE = f"/api/v1{_ENVIRONMENT}/exec", f"{_ENVIRONMENT}/shell"
SOCKETS = re.compile(rb"/(api/v1/environments/[0-9]{1,18}/exec|environments/[0-9]{1,18}/shell)(\?.*)?")

RULES: dict[str, Rule] = {
    # Health tells nothing; a webhook is signed, Caddy's question proven; /setup has its secret link, or is
    # over; /sign-in is where one proves it, with GitHub's help too.
    **dict.fromkeys(("GET /healthz", "GET /readyz", "POST /webhooks/github", "GET /tls/allowed"), OPEN),
    **dict.fromkeys(("GET /setup", "GET /setup/done"), OPEN),
    **dict.fromkeys(
        (f"GET {SIGN_IN}", f"POST {SIGN_IN}", f"GET {GITHUB}", f"GET {CALLBACK}"),
        OPEN,
    ),
    **{f"GET /static/{name}": OPEN for name in STATIC},
    # The one who looks.
    **dict.fromkeys(
        ("POST /sign-out", "GET /sessions", "POST /theme", "POST /tokens/{id:int}/revoke"), KNOWN
    ),
    # What belongs to several repositories, or to none.
    **dict.fromkeys(
        ("GET /", "GET /workers", "GET /deliveries", "GET /events", "GET /approvals", "GET /start"), SOME
    ),
    **dict.fromkeys(("GET /tokens", "POST /tokens"), SOME),  # which names repositories
    "GET /why": SOME,
    **dict.fromkeys(("GET /metrics", "GET /audit", "GET /settings", "GET /notifications"), INSTANCE),
    "POST /workers/{name}/drain": Rule(Of.INSTANCE, audited=True),
    # What one looks at.
    f"GET {_REPOSITORY}": reads(Of.REPOSITORY),
    "GET /runs/{id:int}": reads(Of.RUN),
    **dict.fromkeys(("GET /jobs/{id}", "GET /jobs/{id}/log", "GET /jobs/{id}/follow"), reads(Of.JOB)),
    **dict.fromkeys(("GET /jobs/{id}/times", "GET /jobs/{id}/lines"), reads(Of.JOB)),
    "GET /jobs/{id}/attempts": reads(Of.JOB),
    **dict.fromkeys(
        (f"GET {_ENVIRONMENT}", f"GET {_ENVIRONMENT}/changes", f"GET {_ENVIRONMENT}/tasks/{{task}}"),
        reads(Of.ENVIRONMENT),
    ),
    # What apps print may be of their visitors: for whoever may deploy one that prints anything else.
    **dict.fromkeys((f"GET {_ENVIRONMENT}/output", f"GET {_ENVIRONMENT}/output/follow"), PRINTED),
    "GET /deliveries/{guid}": reads(Of.DELIVERY),
    f"GET {BADGES}{{owner}}/{{name}}/build.svg": reads(Of.BADGE),
    f"GET {BADGES}{{owner}}/{{name}}/environments/{{environment}}.svg": reads(Of.BADGE),
    # What one does inside what runs.
    **dict.fromkeys((f"{WS} {SHELL}", f"{WS} {SHELL_PAGE}"), administers(Of.ENVIRONMENT)),
    f"GET {SHELL_PAGE}": Rule(Of.ENVIRONMENT, Right.ADMIN),
    # What one changes.
    "POST /jobs/{id}/cancel": deploys(Of.JOB),
    **dict.fromkeys(
        (f"POST {_ENVIRONMENT}/{act}" for act in ("wake", "lock", "unlock", "backup", "{act}")),
        deploys(Of.ENVIRONMENT),
    ),
    "POST /deliveries/{guid}/replay": deploys(Of.DELIVERY),
    f"GET {_REPOSITORY}/secrets": Rule(Of.REPOSITORY, Right.ADMIN),
    **dict.fromkeys(
        (f"POST {_REPOSITORY}/secrets", f"POST {_REPOSITORY}/secrets/remove"), administers(Of.REPOSITORY)
    ),
    # Who is told of what happens, and what they were sent.
    f"GET {_REPOSITORY}/notifications": Rule(Of.REPOSITORY, Right.ADMIN),
    **{f"POST /notifications/{act}": Rule(Of.INSTANCE, audited=True) for act in _TRIED},
    **{f"POST {_REPOSITORY}/notifications/{act}": administers(Of.REPOSITORY) for act in _TRIED},
    f"POST {_ENVIRONMENT}/restore": administers(Of.ENVIRONMENT),
    **dict.fromkeys((f"POST {_REPOSITORY}/approve", f"POST {_REPOSITORY}/deny"), deploys(Of.REPOSITORY)),
}


def every(routes: Iterable[BaseRoute], above: str = "") -> Iterable[tuple[str, Route | WebSocketRoute]]:
    """Each route that answers, by its method and path as RULES name them.

    A WebSocket's method is WS. Raises TypeError for what no rule can stand before, such as an application of
    its own, or a WebSocket that has none here.
    """
    for route in routes:
        if isinstance(route, Mount) and isinstance(route.app, Router):
            yield from every(route.routes, above + route.path)
        elif isinstance(route, Route):
            for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                yield f"{method} {above}{route.path}", route
        elif isinstance(route, WebSocketRoute) and f"{WS} {above}{route.path}" in RULES:
            yield f"{WS} {above}{route.path}", route
        else:
            raise TypeError(f"{route!r} is no route that a rule stands before: see bot/web/guard.py")


def as_request(scope: Scope) -> Scope:
    """A WebSocket's beginning as the request that it is: of somebody who is about to change something."""
    return {**scope, "type": "http", "method": "POST"}
