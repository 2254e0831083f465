"""Finds what a question is about: a repository, a commit, and the runs that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from sqlmodel.sql.expression import SelectOfScalar

from bot.store.tables import Delivery, Job, Pull, Release, ReleaseState, Repository, Run
from bot.web.guard import Mine
from bot.web.named import named
from bot.web.why.question import Question

_MOST = 20  # runs: the newest
_DIGITS = 9  # of a run's number


@dataclass(frozen=True)
class Subject:
    """What is told about. Of a pull request it is the head that was announced last."""

    repository: Repository | None
    sha: str
    pull: int | None
    runs: Sequence[Run]
    delivery: str = ""


async def found(session: AsyncSession, asked: Question, mine: Mine) -> Subject | None:
    """What is asked about; None where nothing is known of it, or of nothing that is `mine` to read."""
    owner = await named(session, asked.repository) if asked.repository else None
    if asked.repository and (
        owner is None or not await _readable(session, Subject(owner, "", None, ()), mine)
    ):
        return None
    subject = await _meant(session, asked, owner, mine)
    return subject if subject is not None and await _readable(session, subject, mine) else None


async def _readable(session: AsyncSession, subject: Subject, mine: Mine) -> bool:
    """Whether it is `mine` to read; what is of no repository is so for whoever sees all."""
    of: SelectOfScalar[Any] = select(Delivery.guid).where(
        Delivery.guid == subject.delivery, mine(Delivery.repository_id)
    )
    if subject.repository is not None:
        of = select(Repository.id).where(Repository.id == subject.repository.id, mine(Repository.id))
    return (await session.exec(of)).first() is not None


async def _meant(
    session: AsyncSession, asked: Question, owner: Repository | None, mine: Mine
) -> Subject | None:
    if asked.delivery:
        return await _delivered(session, asked.delivery)
    run = asked.run
    if asked.job:
        run = (await session.exec(select(Job.run_id).where(Job.id == asked.job))).first()
    if asked.environment is not None:
        live = select(Release.run_id).where(
            Release.environment_id == asked.environment, Release.state == ReleaseState.LIVE
        )
        run = (await session.exec(live)).first()
    if run is not None:
        row = await session.get(Run, run)
        return None if row is None else await _of_run(session, row)
    if asked.pull is not None:
        return await _pull(session, owner, asked.pull, mine)
    known = await _commit(session, owner, asked, mine)
    if (known is None or not known.runs) and asked.sha.isdecimal() and len(asked.sha) <= _DIGITS:
        numbered = select(Run).where(Run.id == int(asked.sha), mine(Run.repository_id))
        row = (await session.exec(numbered)).first()
        return known if row is None else await _of_run(session, row)
    return known


async def _delivered(session: AsyncSession, guid: str) -> Subject | None:
    row = await session.get(Delivery, guid)
    if row is None:
        return None
    run = await session.get(Run, row.run_id) if row.run_id is not None else None
    if run is not None:
        return await _of_run(session, run)
    owner = await session.get(Repository, row.repository_id) if row.repository_id is not None else None
    return Subject(owner, "", None, (), guid)


async def _of_run(session: AsyncSession, run: Run) -> Subject:
    owner = await session.get(Repository, run.repository_id)
    return Subject(owner, run.sha, run.pull_number, (run,))


async def _pull(session: AsyncSession, owner: Repository | None, number: int, mine: Mine) -> Subject | None:
    """A pull request; where no repository is named, the one of which its number was heard last."""
    pulls = select(Run.repository_id).where(Run.pull_number == number, mine(Run.repository_id))
    pulls = pulls.order_by(col(Run.id).desc()).limit(1)
    id_ = owner.id if owner else (await session.exec(pulls)).first()
    if id_ is None:
        return None
    repository = owner or await session.get(Repository, id_)
    known = await session.get(Pull, (id_, number))
    runs = await _newest(session, select(Run).where(Run.repository_id == id_, Run.pull_number == number))
    if known is None and not runs:
        return None
    return Subject(repository, known.head_sha if known else runs[0].sha, number, runs)


async def _commit(
    session: AsyncSession, owner: Repository | None, asked: Question, mine: Mine
) -> Subject | None:
    """A commit by its beginning, or what a branch's newest run was of."""
    wanted = select(Run).where(mine(Run.repository_id))
    if owner is not None:
        wanted = wanted.where(Run.repository_id == owner.id)
    if asked.branch:
        ref = wanted.where(col(Run.ref).in_((f"refs/heads/{asked.branch}", f"refs/tags/{asked.branch}")))
        [*last] = await _newest(session, ref, 1)
        if not last:
            return None
        here = (Run.repository_id == last[0].repository_id, Run.sha == last[0].sha)
        runs = await _newest(session, wanted.where(*here))
        return Subject(await session.get(Repository, last[0].repository_id), last[0].sha, None, runs)
    runs = await _newest(session, wanted.where(col(Run.sha).startswith(asked.sha, autoescape=True)))
    if runs:
        same = [run for run in runs if (run.sha, run.repository_id) == (runs[0].sha, runs[0].repository_id)]
        return Subject(await session.get(Repository, runs[0].repository_id), runs[0].sha, None, same)
    return None if owner is None else Subject(owner, asked.sha, None, ())


async def _newest(session: AsyncSession, wanted: SelectOfScalar[Run], most: int = _MOST) -> Sequence[Run]:
    return (await session.exec(wanted.order_by(col(Run.id).desc()).limit(most))).all()
