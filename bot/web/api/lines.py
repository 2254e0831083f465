"""A log as lines of JSON, each with its number from where the reading began, and when it came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from bot.store import colours
from bot.store.times import Times


async def lined(
    parts: AsyncIterator[bytes], times: Times, start: int, coloured: bool = False
) -> AsyncIterator[str]:
    """A log that is read from byte `start` on."""
    await asyncio.to_thread(times.refresh)
    kept, number = b"", 0

    def told(text: bytes) -> str:
        nonlocal number, start
        number += 1
        moment = times.at(start)
        start += len(text) + 1
        shown = (colours.only if coloured else colours.plain)(text).decode(errors="replace")
        line = {"line": number, "at": None if moment is None else _exact(moment), "text": shown}
        return json.dumps(line, ensure_ascii=False) + "\n"

    async for part in parts:
        *done, kept = (kept + part).split(b"\n")
        if done:
            yield "".join(map(told, done))
    if kept:
        yield told(kept)


def _exact(moment: int) -> str:
    """Milliseconds since 1970, as all times of the API are."""
    at = datetime.fromtimestamp(moment / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
