"""Who asks: nothing is answered but what is open to all, or proves itself, to whoever has no token.

Pages are opened by a session's cookie too (bot/web/sessions.py), and by nothing else. What somebody may is
said by bot/web/rules.py, and held by bot/web/guard.py.
Where a request comes from proves nothing: a build on this machine, a web page in a browser here and a proxy
that names nobody all come from 127.0.0.1.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.github.client import GitHubError
from bot.github.people import CALLBACK, Account
from bot.secrets.tokens import Tokens
from bot.store.tables import TokenRow
from bot.web import problems
from bot.web.guard import COUNTS, WHO
from bot.web.permissions import Permissions
from bot.web.rights import OF_SCOPE, Right, Who
from bot.web.rules import BADGES, GITHUB, RULES, SIGN_IN, Of, as_request
from bot.web.sessions import Person, Sessions
from config.settings import Settings

TOO_LARGE = 2**31  # for an id's column

OPEN = {name.partition(" ")[2] for name, rule in RULES.items() if rule.of is Of.ANYBODY}
_DOORS = {SIGN_IN, GITHUB, CALLBACK}  # open to all who call the bot by its name, as are badges
METRICS = "/metrics"  # has a token of its own, where one is set
_PROGRAMS = ("/api/", METRICS)  # where no cookie counts
PERSON = "blacktree person"  # in a request's scope: who is signed in, if anybody is
_SAFE = {"GET", "HEAD"}
# A browser asks for it, and tells it to this very scheme, host and port only, unlike a cookie, which the
# apps at the other ports of this host would get too.
_ASK = {"WWW-Authenticate": 'Basic realm="Blacktree", charset="UTF-8"'}


@dataclass(frozen=True)
class Access:
    """Lets in whoever has `token` and calls the bot by one of its `names`; to the pages, who is signed in.

    Who has the token `metrics`, where there is one, may read the metrics and nothing else.
    """

    token: str = field(repr=False)
    names: frozenset[str] = frozenset()
    metrics: str = field(default="", repr=False)
    sessions: Sessions | None = None
    tokens: Tokens | None = None
    permissions: Permissions | None = None
    settings: Settings | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        settings: Settings,
        token: str,
        sessions: Sessions | None = None,
        tokens: Tokens | None = None,
        permissions: Permissions | None = None,
    ) -> Access:
        known = (settings.public_url, f"//{settings.host}", f"//{settings.proxy_bot}")
        hosts = {urlsplit(url).hostname or "" for url in known}
        names = frozenset(hosts | {"localhost", socket.gethostname().lower()}) - {""}
        metrics = settings.metrics_token.get_secret_value() if settings.metrics_token else ""
        return cls(token, names, metrics, sessions, tokens, permissions, settings)

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app`, but only for who may ask."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            line = scope["type"] == "websocket"
            if line or (scope["type"] == "http" and (scope["path"] not in OPEN or scope["path"] in _DOORS)):
                request = Request(as_request(scope) if line else scope)
                scope[PERSON] = person = await self.person(request)
                try:
                    scope[WHO] = known = await self._known(request, person)
                    scope[PERSON] = person if known else None  # who may come in no more is not signed in
                    scope[COUNTS] = known is None and self._reads_metrics(request)
                    request.scope.update(as_request(scope) if line else {})
                    self.check(request, person)
                    if line:
                        _from_here(request, person)
                except HTTPException as error:
                    return await self._refused(request, error)(scope, receive, send)
            return await app(scope, receive, send)

        return guarded

    async def person(self, request: Request) -> Person | None:
        """Who is signed in. A cookie opens pages, and nothing that programs ask."""
        if self.sessions is None or request.scope["path"].startswith(_PROGRAMS):
            return None
        return await self.sessions.known(request)

    async def _known(self, request: Request, person: Person | None) -> Who | None:
        """Who asks. At the doors nobody has to be known: one comes in with the token while GitHub is away."""
        try:
            return await self.who(request, person)
        except HTTPException:
            if request.scope["path"] not in _DOORS:
                raise
            return None

    async def who(self, request: Request, person: Person | None) -> Who | None:
        """Who proved who they are, by a session or a token. Raises HTTPException while GitHub is away."""
        if person is None and self.knows(request):
            return Who("api", "the API's token", instance=True, speaks=True)
        found = await self._with_token(request) if person is None else self._signed_in(person)
        return found if found is None or await self._belongs(found) else None

    def _signed_in(self, person: Person) -> Who:
        instance = person.account is None or self._administers(person.account)
        return Who(person.name, f"a session, by {person.how}", person.account, instance)

    async def _with_token(self, request: Request) -> Who | None:
        given = _given(request)
        row = await self.tokens.known(given, _address_of(request)) if self.tokens and given else None
        return None if row is None else self._of_token(row)

    def _of_token(self, row: TokenRow) -> Who:
        """A person's token may never more than the person; a program's is what it says."""
        account = Account(row.login, row.account_id or 0) if row.login else None
        most = OF_SCOPE.get(row.scope, Right.NONE)
        theirs = None if row.repositories is None else frozenset(row.repositories)
        instance = account is None or self._administers(account)
        return Who(row.login or row.name, f"the token {row.name}", account, instance, most, theirs)

    def _administers(self, account: Account) -> bool:
        return self.settings is not None and self.settings.administers(account.login)

    async def _belongs(self, known: Who) -> bool:
        """Whether somebody is still of those who may sign in. Raises HTTPException while GitHub is away."""
        if known.account is None or self.permissions is None:
            return True
        try:
            return await self.permissions.belongs(known.account)
        except GitHubError:
            sentence = "GitHub does not say just now whether you may come in: ask again"
            raise HTTPException(503, sentence, {"Retry-After": "10"}) from None

    def _refused(self, request: Request, error: HTTPException) -> Response:
        """Who looks with a browser, and where there are pages, is led to where one signs in."""
        path = request.scope["path"]
        looks = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if error.status_code == 401 and looks and self.sessions and not path.startswith(_PROGRAMS):
            wanted = f"{path}?{request.url.query}" if request.url.query else path
            return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': wanted})}", 303)
        if path.startswith(problems.BELOW):
            return problems.refused(error)
        return JSONResponse({"message": error.detail}, error.status_code, error.headers)

    def check(self, request: Request, _person: Person | None = None) -> None:
        """Raises HTTPException for who may not ask this."""
        if "\0" in request.scope["path"]:  # of which PostgreSQL can't even be asked
            raise HTTPException(404, "nothing here has a name with such a character")
        if b"%00" in request.scope["query_string"]:
            raise HTTPException(400, "the query has a character that no text here may have")
        host = request.headers.get("host", "")
        if not self._ours(host):  # a page whose name was made to point here: DNS rebinding
            raise HTTPException(421, "this bot has another name: ask it by that, or set BLACKTREE_PUBLIC_URL")
        path = request.scope["path"]
        badge = path.startswith(BADGES) and request.method in _SAFE
        known = path in _DOORS or badge or request.scope.get(WHO)
        if not known and not self._reads_metrics(request):
            sentence = "a token is needed, as `Authorization: Bearer` or as a password"
            raise HTTPException(401, sentence, _ASK)
        origin = request.headers.get("origin")
        if request.method not in _SAFE and origin is not None and origin.partition("://")[2] != host:
            raise HTTPException(403, "a web page of another place may change nothing here")

    def knows(self, request: Request) -> bool:
        """Whether the request has the token."""
        return hmac.compare_digest(_given(request).encode(), self.token.encode())

    def _reads_metrics(self, request: Request) -> bool:
        """Whether it asks for the metrics, and has their token."""
        right = bool(self.metrics) and request.scope["path"] == METRICS and request.method in _SAFE
        return right and hmac.compare_digest(_given(request).encode(), self.metrics.encode())

    def _ours(self, host: str) -> bool:
        """An address was pointed nowhere by nobody; a name has to be one of the bot's own."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self.names or _address(name)


def _from_here(request: Request, person: Person | None) -> None:
    """Raises HTTPException for a WebSocket that comes by a cookie, and not from a page of ours.

    Browsers let any page open one, with our cookies, and say where it comes from:
    https://www.rfc-editor.org/rfc/rfc6455#section-10.2
    """
    if person is not None and "origin" not in request.headers:
        raise HTTPException(403, "a page of this bot opens this: a program asks /api/v1, with a token")


def _given(request: Request) -> str:
    """The token or password that comes with a request, empty where none does."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "basic":
        return _password(given)
    return given if kind.lower() == "bearer" else ""


def _address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def _address(name: str) -> bool:
    try:
        return bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _password(basic: str) -> str:
    """The password of a browser's `user:password`, whoever the user is said to be."""
    try:
        return base64.b64decode(basic, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


def number(request: Request, name: str, default: int) -> int:
    """A number of the query. Raises HTTPException."""
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not value.isdecimal() or len(value) > 9:
        raise HTTPException(400, f"{name} must be a number")
    return int(value)
