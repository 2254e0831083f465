"""The bot is told that a release is healthy, and switches its routes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from config.processes import WEB
from workers.attempt import Attempt
from workers.contract.failure import ours, user
from workers.contract.messages import DeploySpec, Ready, Refusal, Switched
from workers.deploy.asking import AGAIN, answered
from workers.tools import Tools


async def switched(
    attempt: Attempt, spec: DeploySpec, addresses: Mapping[str, list[str]], tools: Tools
) -> None:
    """Have the bot switch the routes to `addresses`, by process.

    Asked again until it answers: the same question switches once.
    """
    ready = Ready(
        job=attempt.ref.job,
        attempt=attempt.ref.attempt,
        release=spec.release,
        addresses=addresses.get(WEB, []),
        further={name: theirs for name, theirs in addresses.items() if name != WEB},
    )
    attempt.commit()
    while True:
        answer = await answered(attempt, ready, tools)
        if isinstance(answer, Switched):
            attempt.log.line(f"live at {answer.url}" if answer.url else "live")
            return
        if isinstance(answer, Refusal) and answer.retry:
            await asyncio.sleep(AGAIN)
            continue
        if isinstance(answer, Refusal) and answer.users:
            raise user("not_switched", answer.reason)
        reason = answer.reason if isinstance(answer, Refusal) else f"it answered {answer.kind}"
        raise ours("not_switched", f"The bot did not switch to the new release: {reason}")
