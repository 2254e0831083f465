"""Several things that go on side by side, of which the first that ends is the end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first(*work: Coroutine[Any, Any, T]) -> T:
    """What ends first ends all; of some that end at once one that went well. Raises what it raises."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    ended = [task for task in done if task.exception() is None] or list(done)
    return ended[0].result()
