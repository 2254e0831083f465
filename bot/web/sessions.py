"""Who is signed in: a session for each browser, and links that sign in once.

The store has keyed hashes only. Their key is the API's token: with another token nobody is signed in.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode, urlsplit

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select
from starlette.requests import Request

from bot.github.people import Account
from bot.store.database import Store
from bot.store.tables import Mark, SessionRow, SignInLink
from bot.web.rules import SIGN_IN
from workers.contract.messages import now

LIFE = timedelta(days=14)  # of a session, however much it is used
LINK_LIFE = timedelta(hours=1)
STATE_LIFE = timedelta(minutes=10)  # as long as GitHub's codes live
ADMINISTRATOR = "administrator"

_SEEN = timedelta(minutes=5)  # that it may be off
_MOST_PLACE = 1000  # characters of where one goes on to
_MOST_AGENT = 200  # characters
_FIRST = "first sign-in link"  # in `marks`


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in. Whoever has `csrf` was told it by a page of ours."""

    name: str
    mark: str
    csrf: str = field(repr=False)
    how: str = ""
    account: Account | None = None  # at GitHub, whose rights count; the administrator has none


@dataclass(frozen=True)
class Opened:
    """A session that was just opened, as its browser is told of it."""

    cookie: str
    value: str = field(repr=False)
    secure: bool

    @property
    def lasts(self) -> int:
        """Seconds."""
        return int(LIFE.total_seconds())


@dataclass(frozen=True)
class Leaving:
    """A browser that is about to go to GitHub: the cookie that binds it, the state, and the verifier."""

    cookie: str
    value: str = field(repr=False)
    secure: bool
    state: str = field(repr=False)
    verifier: str = field(repr=False)

    @property
    def lasts(self) -> int:
        """Seconds."""
        return int(STATE_LIFE.total_seconds())


@dataclass(frozen=True)
class Returned:
    """A browser that came back from there."""

    verifier: str = field(repr=False)
    wanted: str


class Sessions:
    """Opens, knows and ends them. `public_url` is how people reach the bot, empty where that is not set."""

    def __init__(self, store: Store, token: str, public_url: str = "") -> None:
        self._store = store
        self._key = token.encode()
        self._public = urlsplit(public_url)

    async def known(self, request: Request) -> Person | None:
        """Who asks, by the cookie."""
        value = request.cookies.get(self._cookie(self._safe(request)), "")
        if not value:
            return None
        at, mark = now(), self._mark("session", value)
        async with self._store.reading() as session:
            row = await session.get(SessionRow, mark)
        if row is None or row.expires_at <= at or row.address not in ("", _address(request)):
            return None
        if at - row.seen_at > _SEEN:
            async with self._store.statements() as connection:
                await connection.execute(
                    update(SessionRow).where(col(SessionRow.mark) == mark).values(seen_at=at)
                )
        account = Account(row.login, row.account_id or 0) if row.login else None
        return Person(row.name, mark, _hash(value.encode(), "csrf"), row.how, account)

    async def open(self, request: Request, how: str, account: Account | None = None) -> Opened:
        """A session for who asks, whoever proved it. Ones that are over are forgotten meanwhile.

        Cookies know no ports: over plain HTTP what else listens at this host is told this one too, so it
        counts from the same address only. One that is Secure goes to nobody without our certificate.
        """
        value, safe = secrets.token_urlsafe(32), self._safe(request)
        row = SessionRow(
            mark=self._mark("session", value),
            name=account.login if account else ADMINISTRATOR,
            how=how,
            login=account.login if account else "",
            account_id=account.id if account else None,
            address="" if safe else _address(request),
            agent=request.headers.get("user-agent", "")[:_MOST_AGENT],
            expires_at=now() + LIFE,
        )
        async with self._store.transaction() as session:
            await session.exec(delete(SessionRow).where(col(SessionRow.expires_at) <= now()))
            session.add(row)
            await session.exec(delete(SessionRow).where(col(SessionRow.mark) == self._before(request)))
        return Opened(self._cookie(safe), value, safe)

    async def all(self, account: Account | None = None) -> Sequence[SessionRow]:
        """Those that have not ended, of one person or all, the one that was seen last first."""
        alive = select(SessionRow).where(col(SessionRow.expires_at) > now())
        if account is not None:
            alive = alive.where(SessionRow.login == account.login, SessionRow.account_id == account.id)
        async with self._store.reading() as session:
            return (await session.exec(alive.order_by(col(SessionRow.seen_at).desc()))).all()

    async def end(self, mark: str, account: Account | None = None) -> bool:
        """End a session, of this person if one is named; whether there was one."""
        this = [col(SessionRow.mark) == mark]
        if account is not None:
            this += [col(SessionRow.login) == account.login, col(SessionRow.account_id) == account.id]
        async with self._store.transaction() as session:
            ended = await session.exec(delete(SessionRow).where(*this))
        return bool(ended.rowcount)

    async def link(self, base: str) -> str:
        """The address at which a browser is signed in once, within an hour."""
        code = secrets.token_urlsafe(32)
        row = SignInLink(mark=self._mark("link", code), expires_at=now() + LINK_LIFE)
        async with self._store.transaction() as session:
            await session.exec(delete(SignInLink).where(col(SignInLink.expires_at) <= now()))
            session.add(row)
        return f"{base}{SIGN_IN}?{urlencode({'code': code})}"

    async def first(self) -> bool:
        """Whether this is the first start of the instance, of which one asks once."""
        try:
            async with self._store.transaction() as session:
                if await session.get(Mark, _FIRST) is not None:
                    return False
                session.add(Mark(name=_FIRST, value=now().isoformat()))
        except IntegrityError:  # another bot starts at the same moment, and was first
            return False
        return True

    async def first_link(self, base: str) -> str | None:
        """A link at the first start of an instance, and None at every other."""
        return await self.link(base) if await self.first() else None

    def leave(self, request: Request, wanted: str) -> Leaving:
        """Of a browser that goes to GitHub, to come back within minutes and then go on to `wanted`.

        Nothing is kept here: its cookie, its state and the verifier follow from each other and from our key.
        """
        until = int((now() + STATE_LIFE).timestamp())
        place = wanted if len(wanted) <= _MOST_PLACE else "/"
        cookie = f"{until}.{secrets.token_urlsafe(32)}.{_packed(place)}"
        safe = self._safe(request)
        return Leaving(self._door(safe), cookie, safe, self._mark("state", cookie), self._verifier(cookie))

    async def back(self, request: Request, state: str) -> Returned | None:
        """What a browser that comes back left with, once; None where it is none, or not this one."""
        cookie = request.cookies.get(self._door(self._safe(request)), "")
        until, _, rest = cookie.partition(".")
        if not hmac.compare_digest(self._mark("state", cookie).encode(), state.encode()):
            return None
        at = datetime.fromtimestamp(int(until), UTC)  # we made it: the state fits
        if at <= now():
            return None
        try:
            async with self._store.transaction() as session:
                await session.exec(delete(SignInLink).where(col(SignInLink.expires_at) <= now()))
                session.add(SignInLink(mark=self._mark("used state", state), expires_at=at))
        except IntegrityError:
            return None
        return Returned(self._verifier(cookie), _unpacked(rest.partition(".")[2]))

    def door(self, request: Request) -> tuple[str, bool]:
        """The cookie of a browser that goes to GitHub, and whether it is Secure."""
        safe = self._safe(request)
        return self._door(safe), safe

    async def redeem(self, code: str) -> bool:
        """Whether a link has this code, and nobody followed it before."""
        this = (col(SignInLink.mark) == self._mark("link", code), col(SignInLink.expires_at) > now())
        async with self._store.transaction() as session:
            used = await session.exec(delete(SignInLink).where(*this))
        return bool(used.rowcount == 1)

    def _before(self, request: Request) -> str:
        """The mark of the session that the browser had: whoever signs in anew ends it."""
        value = request.cookies.get(self._cookie(self._safe(request)), "")
        return self._mark("session", value) if value else ""

    def _door(self, safe: bool) -> str:
        return f"{self._cookie(safe)}-door"

    def _verifier(self, cookie: str) -> str:
        """64 of the characters that https://www.rfc-editor.org/rfc/rfc7636#section-4.1 allows."""
        return self._mark("verifier", cookie)

    def is_token(self, given: str) -> bool:
        """Whether it is the API's token."""
        return hmac.compare_digest(given.encode(), self._key)

    def _safe(self, request: Request) -> bool:
        """Whether the browser came by the public name over TLS, which ends before us."""
        host = request.headers.get("host", "")
        return self._public.scheme == "https" and _host(host) == _host(self._public.netloc)

    def _cookie(self, safe: bool) -> str:
        """Its name: one for each instance, as several may have this host."""
        return f"{'__Host-' if safe else ''}blacktree-{self._store.instance[:8]}"

    def _mark(self, kind: str, value: str) -> str:
        return _hash(self._key, f"{kind}:{value}")


def _packed(text: str) -> str:
    """As a cookie has it."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpacked(packed: str) -> str:
    return base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()


def _host(netloc: str) -> str:
    """As a browser that came over TLS writes it."""
    return netloc.lower().removesuffix(":443")


def _hash(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
