"""How many previews a repository has at once: the oldest is stopped for a new one."""

from __future__ import annotations

import dataclasses

from sqlmodel import col, select

from bot.decisions import plan
from bot.decisions.decision import Cause, Decision, Tell
from bot.decisions.desk import Desk
from bot.decisions.plan import PlannedJob
from bot.store.tables import Environment, Pull
from workers.contract.messages import Kind


async def capped(desk: Desk, made: Decision) -> Decision:
    """A decision that makes a preview, with the end of the oldest ones that it is one too many for."""
    job = next((job for job in made.jobs if _shows(made, job)), None)
    if job is None or made.cause is None or made.cause.pull_number is None:
        return made
    running = await _running(desk)
    others = [pull for name, pull in running if name != job.name]
    if len(others) < len(running) or not others:
        return made
    most = int(job.spec["most"])
    stops = [_stop(desk, pull, made.cause, most) for pull in excess(others, most)]
    return dataclasses.replace(made, further=(*made.further, *stops))


def excess(others: list[Pull], most: int) -> list[Pull]:
    """Pure: which of the `others`, oldest first, have to go so that one more fits among `most`."""
    return others[: max(0, len(others) + 1 - most)]


def _shows(made: Decision, job: PlannedJob) -> bool:
    number = made.cause.pull_number if made.cause else None
    return job.kind is Kind.DEPLOY and number is not None and job.name == plan.preview_name(number)


async def _running(desk: Desk) -> list[tuple[str, Pull]]:
    """The repository's previews that were not stopped, the one that was pushed to longest ago first."""
    here = (
        select(Environment.name, Pull)
        .join(
            Pull,
            (col(Pull.repository_id) == col(Environment.repository_id))
            & (col(Pull.number) == col(Environment.pull_number)),
        )
        .where(Environment.repository_id == desk.repository.id, col(Environment.stopped).is_(False))
        .order_by(col(Pull.expires_at), col(Pull.number))
    )
    async with desk.store.reading() as session:
        return list((await session.exec(here)).all())


def _stop(desk: Desk, pull: Pull, cause: Cause, most: int) -> Decision:
    name = plan.preview_name(pull.number)
    key = f"cap:{desk.repository.id}:{pull.number}:{cause.key}"
    theirs = Cause("too many previews", key, f"refs/pull/{pull.number}/head", pull.head_sha, "", pull.number)
    told = (
        f"This preview was stopped for the one of #{cause.pull_number}: {most} may run at once "
        f"(`most` of the environment `preview`). /redeploy brings it back."
    )
    return Decision(
        f"stops {name} for {plan.preview_name(cause.pull_number or 0)}",
        theirs,
        tuple(plan.stop_preview(pull.number)),
        effects=(Tell(pull.number, told),),
    )
