"""What people may at GitHub, as it said a minute ago at most. While it is away nobody is let in by guess."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from sqlmodel import select

from bot.github.client import GitHubError
from bot.github.people import Account, People
from bot.store.database import Store
from bot.store.tables import Repository
from bot.web.rights import Right, Who, on
from config.settings import Settings

T = TypeVar("T")

FRESH = 60.0  # seconds
_MOST = 50_000  # answers that are kept
_AT_ONCE = 8  # questions of one person


class Kept(Generic[T]):
    """Answers, each for FRESH seconds; who asks for one that is being asked for waits for it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: OrderedDict[tuple[object, ...], tuple[T, float]] = OrderedDict()
        self._asking: dict[tuple[object, ...], asyncio.Lock] = {}

    async def of(self, key: tuple[object, ...], ask: Callable[[], Awaitable[T]]) -> T:
        """What is known of `key`, or what `ask` gives. Raises what `ask` raises."""
        if (known := self._fresh(key)) is not None:
            return known[0]
        lock = self._asking.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                if (known := self._fresh(key)) is not None:
                    return known[0]
                self._known[key] = (answer := await ask()), self._clock()
                self._known.move_to_end(key)
                if len(self._known) > _MOST:
                    self._known.popitem(last=False)
                return answer
        finally:
            if not lock.locked():
                self._asking.pop(key, None)

    def _fresh(self, key: tuple[object, ...]) -> tuple[T, float] | None:
        known = self._known.get(key)
        return known if known is not None and self._clock() - known[1] < FRESH else None


class Permissions:
    """Asks GitHub's `people`. Every method raises GitHubError where it does not say."""

    def __init__(
        self,
        store: Store,
        people: People,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._people = people
        self._settings = settings
        self._permissions: Kept[str] = Kept(clock)
        self._members: Kept[bool] = Kept(clock)

    async def right(self, who: Who, repository: Repository) -> Right:
        """What somebody may on a repository."""
        account = who.account
        if who.unasked or account is None or not on(who, repository.id, "admin"):
            return on(who, repository.id, "none")
        return on(who, repository.id, await self._permission(account, repository))

    async def anew(self, who: Who, repository: Repository) -> Right:
        """The same, as GitHub says it now."""
        account = who.account
        if who.unasked or account is None or not on(who, repository.id, "admin"):
            return on(who, repository.id, "none")
        return on(who, repository.id, await self._people.permission(repository, account))

    async def readable(self, who: Who) -> frozenset[int] | None:
        """The repositories that somebody may see; None for all."""
        if who.sees_all:
            return None
        rows = await self._repositories()
        rights = await asyncio.gather(*self._bounded(rows, lambda row: self.right(who, row)))
        return frozenset(row.id for row, right in zip(rows, rights, strict=True) if right >= Right.READ)

    async def welcome(self, account: Account) -> bool:
        """Whether somebody may sign in here at all."""
        settings = self._settings
        if settings.administers(account.login):
            return True
        if settings.welcome:
            return await self.belongs(account)
        rows = await self._repositories()
        said = await asyncio.gather(*self._bounded(rows, lambda row: self._permission(account, row)))
        return any(
            word in ("write", "admin") or (word == "read" and row.private)
            for row, word in zip(rows, said, strict=True)
        )

    async def belongs(self, account: Account) -> bool:
        """Whether somebody is, still, of an organisation that may sign in, where there are such."""
        settings = self._settings
        if not settings.welcome or settings.administers(account.login):
            return True
        error: GitHubError | None = None
        for organization in settings.welcome:
            try:
                if await self._member(organization, account):
                    return True
            except GitHubError as refused:  # the next one may know them
                error = refused
        if error is not None:
            raise error
        return False

    async def _permission(self, account: Account, repository: Repository) -> str:
        key = (repository.id, account)
        return await self._permissions.of(key, lambda: self._people.permission(repository, account))

    async def _member(self, organization: str, account: Account) -> bool:
        key = (organization, account)
        return await self._members.of(key, lambda: self._people.member(organization, account.login))

    async def _repositories(self) -> list[Repository]:
        async with self._store.reading() as session:
            return list((await session.exec(select(Repository))).all())

    def _bounded(
        self, rows: list[Repository], ask: Callable[[Repository], Awaitable[T]]
    ) -> list[Awaitable[T]]:
        """A question for each, of which few are asked at once."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(row: Repository) -> T:
            async with turns:
                return await ask(row)

        return [one(row) for row in rows]
