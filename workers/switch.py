"""The bot is told that a release is healthy, and switches its route."""

from __future__ import annotations

import asyncio

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec, Ready, Refusal, Switched
from workers.contract.queue import QueueDown
from workers.failure import ours, user
from workers.tools import Tools

_ASKING = 10.0  # seconds for one answer of the bot
_AGAIN = 1.0  # seconds between two questions


async def switched(attempt: Attempt, spec: DeploySpec, addresses: list[str], tools: Tools) -> None:
    """Have the bot switch the route. Asked again until it answers: the same question switches once."""
    ready = Ready(job=attempt.ref.job, attempt=attempt.ref.attempt, release=spec.release, addresses=addresses)
    attempt.commit()
    while True:
        try:
            answer = await tools.queue.request(ready, _ASKING)
        except (QueueDown, TimeoutError) as error:
            attempt.log.line(f"the bot does not answer yet: {error or 'time-out'}")
            await asyncio.sleep(_AGAIN)
            continue
        if isinstance(answer, Switched):
            attempt.log.line(f"live at {answer.url}")
            return
        if isinstance(answer, Refusal) and answer.retry:
            await asyncio.sleep(_AGAIN)
            continue
        if isinstance(answer, Refusal) and answer.users:
            raise user("not_switched", answer.reason)
        reason = answer.reason if isinstance(answer, Refusal) else f"it answered {answer.kind}"
        raise ours("not_switched", f"The bot did not switch to the new release: {reason}")
