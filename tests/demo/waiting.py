"""Conditions with a limit, and the one error that ends a demo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2

T = TypeVar("T")

_PAUSE = 0.1  # seconds between two looks


class DemoFailed(Exception):
    """What went wrong, in a sentence for whoever watches."""


async def until(look: Callable[[], Awaitable[T | None]], what: str, limit: float) -> T:
    """The first true thing that `look` gives. Raises DemoFailed after `limit` seconds.

    An HTTP request of `look` that fails counts as nothing seen yet.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit
    while True:
        try:
            if found := await look():
                return found
        except httpx2.HTTPError:
            pass
        if loop.time() > deadline:
            raise DemoFailed(f"waited {limit:g} s in vain for {what}")
        await asyncio.sleep(_PAUSE)
