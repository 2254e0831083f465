"""A drain is sent one line of ours, to see whether it takes it."""

from __future__ import annotations

import asyncio
import time

from bot.log_drains.forms import Source
from bot.log_drains.sink import DrainDown, Target
from bot.log_drains.sinks import sink
from bot.store.outputs import Kept, Said

TEST = "a test of this log drain: lines reach it"
_PATIENCE = 20.0  # seconds that whoever tries one waits


async def tried(target: Target, source: Source) -> str:
    """Why it does not take the line, for people; empty if it does. Over UDP nobody knows."""
    made = sink(target)  # one of its own: it waits for no turn behind lines that are not taken
    line = Kept(0, Said(time.time_ns(), TEST, "blacktree", "blacktree", "", note=True))
    try:
        async with asyncio.timeout(_PATIENCE):
            await made.send(source, [line])
    except DrainDown as error:
        return str(error)
    except TimeoutError:
        return f"it has not answered in {_PATIENCE:.0f} seconds"
    finally:
        await made.close()
    return ""
