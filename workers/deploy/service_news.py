"""The bot keeps what is to be known of a service, before it is so."""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.failure import ours
from workers.contract.messages import Noted, Refusal, ServiceNews
from workers.deploy.asking import answered
from workers.tools import Tools


async def kept(
    attempt: Attempt,
    tools: Tools,
    service: str,
    *,
    image: str = "",
    fresh: bool = False,
    seeded: bool = False,
    gone: bool = False,
) -> None:
    """Tell the bot until it keeps it: told twice it is the same. Raises Failure."""
    ref = attempt.ref
    news = ServiceNews(
        job=ref.job, attempt=ref.attempt, service=service,
        image=image, fresh=fresh, seeded=seeded, gone=gone,
    )  # fmt: skip
    answer = await answered(attempt, news, tools)
    if isinstance(answer, Noted):
        return
    reason = answer.reason if isinstance(answer, Refusal) else f"it answered {answer.kind}"
    raise ours("not_noted", f"The bot does not keep what is told of service {service}: {reason}")
