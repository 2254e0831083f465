"""What a deploy asks the bot and can't go on without."""

from __future__ import annotations

import asyncio

from workers.attempt import Attempt
from workers.contract.messages import Answer, Asked
from workers.contract.queue import QueueDown
from workers.tools import Tools

AGAIN = 1.0  # seconds between two questions
_ASKING = 10.0  # seconds for one answer of the bot


async def answered(attempt: Attempt, asked: Asked, tools: Tools) -> Answer:
    """Ask until the bot answers; for what is the same when it is asked twice."""
    while True:
        try:
            return await tools.queue.request(asked, _ASKING)
        except (QueueDown, TimeoutError) as error:
            attempt.log.line(f"the bot does not answer yet: {error or 'time-out'}")
            await asyncio.sleep(AGAIN)
