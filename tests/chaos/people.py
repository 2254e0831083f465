"""What people do: push, open and close pull requests, write commands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

import httpx2

from tests.chaos.schedule import Wish
from tests.chaos.town import PAGE, Town, dockerfile

T = TypeVar("T")

_TRIES = 20
_MOST_OPEN = 4  # pull requests at once


@dataclass
class People:
    """One developer, who does one thing after the other."""

    town: Town
    opened: dict[int, str] = field(default_factory=dict)  # the open ones, each with its branch
    closed: list[int] = field(default_factory=list)
    _count: int = 0

    async def do(self, wish: Wish, whom: int) -> None:
        """A wish that cannot be now is none: nothing is open, or too much."""
        match wish:
            case Wish.PUSH:
                await self._push("main", whom)
            case Wish.OPEN if len(self.opened) < _MOST_OPEN:
                await self._open(whom)
            case Wish.COMMIT if self.opened:
                await self._push(self.opened[self._one(whom)], whom)
            case Wish.CLOSE if len(self.opened) > 1:
                await self.close(self._one(whom))
            case Wish.CANCEL | Wish.ROLLBACK if self.opened:
                town, number = self.town, self._one(whom)
                await self._again(lambda: town.github.comment(town.shop, number, town.user, wish.value))

    async def close(self, number: int) -> None:
        del self.opened[number]
        self.closed.append(number)
        town = self.town
        await self._again(lambda: town.github.close_pull(town.shop, number, town.user))

    def _one(self, whom: int) -> int:
        return sorted(self.opened)[whom % len(self.opened)]

    async def _open(self, whom: int) -> None:
        self._count += 1
        branch = f"feature-{self._count}"
        await self.town.work.git("checkout", "--quiet", "main")
        await self.town.work.git("checkout", "--quiet", "-b", branch)
        await self._push(branch, whom)
        self.opened[await self._again(lambda: self._number(branch))] = branch

    async def _number(self, branch: str) -> int:
        """Of a pull request that is opened now, or was when the answer was lost."""
        town = self.town
        there = (pull.number for pull in town.shop.pulls.values() if pull.head == branch)
        return next(there, 0) or await town.github.open_pull(town.shop, town.user, head=branch)

    async def _push(self, branch: str, whom: int) -> None:
        work = self.town.work
        await work.git("checkout", "--quiet", branch)
        page = f"{branch} {len(self.town.pages)}"
        sha = await work.commit({PAGE: page, "Dockerfile": dockerfile(whom % 4)}, message=page)
        self.town.pages[sha] = page
        await work.push(branch=branch)

    @staticmethod
    async def _again(ask: Callable[[], Awaitable[T]]) -> T:
        """What GitHub answers, asked until it does: its faults and lost answers are for people too."""
        for _ in range(_TRIES):
            try:
                return await ask()
            except httpx2.HTTPError:
                await asyncio.sleep(0.3)
        return await ask()
