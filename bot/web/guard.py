"""Before each route: whether who asks has the right that its rule names, and what of all they may see.

Whoever may not read a repository is told what is told of one that is not there. What succeeds and changes
something is written down, whatever handler did it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog
from sqlalchemy import ColumnElement, true
from sqlmodel import col, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bot.github.client import GitHubError
from bot.store import audit
from bot.store.audit import Changed
from bot.store.database import Store
from bot.store.tables import Delivery, Environment, Job, Release, Repository, Run
from bot.web import problems
from bot.web.named import named
from bot.web.permissions import Permissions
from bot.web.rights import Right, Who, on
from bot.web.rules import INSTANCE, RULES, WS, Of, Rule, as_request, every

WHO = "blacktree who"  # in a request's scope: who proved who they are
COUNTS = "blacktree counts"  # that only the metrics are asked for, with their own token
_RIGHT = "blacktree right"  # what they may on what the path names
_SEEN = "blacktree seen"  # the repositories that they may read
_NOTE = "blacktree note"  # what is written down of what was changed
_RIGHTS = "blacktree rights"  # what asks for the right on a repository that a list shows
_ASK = "blacktree ask"  # what asks for the right on what a body names

_MOST_NUMBER, _MOST_DIGITS = 2**31, 18  # for an id's column
_SAFE = {"GET", "HEAD"}
_LATER = {"Retry-After": "10"}

Mine = Callable[[Any], ColumnElement[bool]]

log = structlog.get_logger()


def who(request: Request) -> Who | None:
    """Who proved who they are; None where a route is open and nobody did."""
    found: Who | None = request.scope.get(WHO)
    return found


def right(request: Request) -> Right:
    """What they may on what the path names."""
    found: Right = request.scope.get(_RIGHT, Right.NONE)
    return found


def within(request: Request, column: Any) -> ColumnElement[bool]:
    """That `column`, a repository's id, is of one that they may read. What no rule opened shows none."""
    seen: frozenset[int] | None = request.scope.get(_SEEN, frozenset())
    return true() if seen is None else col(column).in_(seen)


def mine(request: Request) -> Mine:
    """`within`, for whoever looks long after the request."""
    return partial(within, request)


def changed(request: Request, what: str, why: str = "", repository_id: int | None = None) -> None:
    """Say in words what this request changes and why they say that it does, for the audit log."""
    known = request.scope.get(_NOTE, {})
    more = {} if repository_id is None else {"repository_id": repository_id}
    request.scope[_NOTE] = {**known, "what": what, "why": why, **more}


def unchanged(request: Request) -> None:
    """Say that this request changed nothing: what it asks for was done, and written down, before."""
    request.scope[_NOTE] = None


async def allows(request: Request, owner: Repository | None) -> bool:
    """Whether who asks may know of the repository that the body names; of one that is not there, no.

    Raises HTTPException where they do, and what they ask for needs more.
    """
    ask = request.scope[_ASK]
    return bool(await ask(owner))


async def right_on(request: Request, owner: Repository) -> Right:
    """What they may on a repository of which a list tells. Raises HTTPException."""
    ask = request.scope.get(_RIGHTS)
    return Right.NONE if ask is None else Right(await ask(owner))


def noted(request: Request, known: Who, what: str, **more: Any) -> Changed:
    """What somebody changed by this request."""
    told = {"what": what, **more}
    return Changed(who=known.name, how=known.how, address=address(request), **told)


def address(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


class Guard:
    """Stands before all routes, with a rule for each. Without `permissions` GitHub's people may nothing."""

    def __init__(
        self, store: Store, permissions: Permissions | None, rules: Mapping[str, Rule] = RULES
    ) -> None:
        self._store = store
        self._permissions = permissions
        self.rules = rules

    def before(self, routes: list[BaseRoute]) -> list[BaseRoute]:
        """The routes, each behind its rule."""
        rules: dict[int, dict[str, Rule]] = {}
        found = {}
        for name, route in every(routes):
            method = name.partition(" ")[0]
            rules.setdefault(id(route), {})[method] = self.rules.get(name, INSTANCE)
            found[id(route)] = route
        for key, route in found.items():
            route.app = self._guarded(route.app, rules[key])
        return routes

    def _guarded(self, app: ASGIApp, rules: dict[str, Rule]) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                return await self._line(app, rules[WS], scope, receive, send)
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            rule = rules.get(method, INSTANCE)
            if rule.of is not Of.ANYBODY:
                await self._admit(Request(scope), rule)
            audited = rule.audited and method not in _SAFE
            await app(scope, receive, self._writing(Request(scope), send) if audited else send)
            return None

        return guarded

    async def _line(self, app: ASGIApp, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket, for who has the right at its beginning. Its handler looks again, and writes down."""
        request = Request(as_request(scope))
        try:
            await self._admit(request, rule)
        except HTTPException as error:
            return await problems.refused(error)(scope, receive, send)
        return await app(scope, receive, send)

    async def _admit(self, request: Request, rule: Rule) -> None:
        """Note the rights of who asks. Raises HTTPException where they do not reach."""
        known = who(request)
        if rule.of is Of.BADGE and await self._public(request):
            return
        if known is None:  # the metrics' own token, which access.py lets in there alone
            if request.scope.get(COUNTS):
                return
            if rule.of is Of.BADGE:
                raise _missing(rule)
            raise HTTPException(401, "say who you are")
        if rule.of is Of.KNOWN:
            return
        if rule.of is Of.INSTANCE:
            if not known.administers:
                raise HTTPException(403, "this is for the administrators of this instance: see ADMINS")
            return
        if rule.of is Of.NAMED:
            request.scope[_ASK] = lambda owner: self._opened(request, rule, known, owner)
            return
        if rule.of is Of.SOME:
            request.scope[_RIGHTS] = lambda owner: self._right(known, owner)
            asked = not known.unasked
            request.scope[_SEEN] = (
                await self._asked(lambda one: one.readable(known), known) if asked else known.repositories
            )
            return
        await self._of_repository(request, rule, known)

    async def _of_repository(self, request: Request, rule: Rule, known: Who) -> None:
        owner = await self._owner(request, rule.of)
        if owner is None and known.administers:
            request.scope[_RIGHT], request.scope[_SEEN] = known.most, None
            return  # the handler says what is missing
        if not await self._opened(request, rule, known, owner):
            raise _missing(rule)

    async def _opened(self, request: Request, rule: Rule, known: Who, owner: Repository | None) -> bool:
        """Note the right on `owner`; False for one that they may not know of. Raises HTTPException."""
        if owner is None:
            return False
        found = await self._right(known, owner)
        if found < Right.READ:
            return False
        if found < rule.right:
            raise HTTPException(403, f"{known.name} may not do this: it needs {_NEEDS[rule.right]}")
        request.scope[_RIGHT], request.scope[_SEEN] = found, frozenset({owner.id})
        request.scope[_NOTE] = {"repository_id": owner.id}
        return True

    async def _right(self, known: Who, owner: Repository) -> Right:
        if known.unasked:
            return on(known, owner.id, "none")
        return Right(await self._asked(lambda one: one.right(known, owner), known))

    async def _public(self, request: Request) -> bool:
        owner = await self._owner(request, Of.BADGE)
        return owner is not None and not owner.private

    async def _asked(self, ask: Callable[[Permissions], Any], known: Who) -> Any:
        """What GitHub's word leads to. Raises HTTPException while it gives none."""
        if self._permissions is None:
            raise HTTPException(503, "GitHub can't be asked what you may", _LATER)
        try:
            return await ask(self._permissions)
        except GitHubError as error:
            log.warning("GitHub does not say what somebody may", who=known.name, error=str(error))
            sentence = "GitHub does not say just now what you may, and nobody is let in on a guess: ask again"
            raise HTTPException(503, sentence, _LATER) from None

    async def _owner(self, request: Request, of: Of) -> Repository | None:
        """The repository that the path leads to."""
        path = request.path_params
        if any("\0" in str(part) for part in path.values()):
            return None  # a name that PostgreSQL takes for none
        async with self._store.reading() as session:
            if of in (Of.REPOSITORY, Of.BADGE):
                return await named(session, f"{path['owner']}/{path['name']}")
            wanted: Any
            if of is Of.DELIVERY:
                wanted = select(Delivery.repository_id).where(Delivery.guid == path["guid"])
            elif of is Of.JOB:
                wanted = select(Job.repository_id).where(Job.id == path["id"])
            elif (asked := _number(path["id"])) is None:
                return None
            elif of is Of.RUN:
                wanted = select(Run.repository_id).where(Run.id == asked)
            elif of is Of.ENVIRONMENT:
                wanted = select(Environment.repository_id).where(Environment.id == asked)
            else:
                place = col(Environment.id) == col(Release.environment_id)
                wanted = select(Environment.repository_id).join(Release, place).where(Release.id == asked)
            number = (await session.exec(wanted)).first()
            return None if number is None else await session.get(Repository, number)

    def _writing(self, request: Request, send: Send) -> Send:
        """`send`, which writes down what was changed before whoever asked is told that it was."""

        async def writing(message: Message) -> None:
            note = request.scope.get(_NOTE, {})
            if message["type"] == "http.response.start" and message["status"] < 400 and note is not None:
                known = who(request)
                assert known, "nobody else is admitted"  # noqa: S101
                told = {"what": f"{request.method} {request.url.path}", **note}
                await audit.written(self._store, noted(request, known, **told))
            await send(message)

        return writing


def _missing(rule: Rule) -> HTTPException:
    return HTTPException(404, f"there is no such {rule.of.value}")


def _number(given: object) -> int | None:
    """The number of a path, as an id's column can have it."""
    text = str(given)
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
        return None
    return int(text) if int(text) < _MOST_NUMBER else None


_NEEDS = {
    Right.READ: "to read the repository",
    Right.DEPLOY: "write access to the repository, and a token with the scope deploy if it is one",
    Right.ADMIN: "to administrate the repository, and a token with the scope admin if it is one",
}
