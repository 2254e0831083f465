"""The whole answer: what the store knows of a subject, told in its order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import defer
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.jobs.lifecycle import attempt_of
from bot.store.database import Store
from bot.store.tables import (
    Approval,
    AttemptRow,
    CommandRow,
    Delivery,
    Environment,
    Image,
    Job,
    JobState,
    Release,
    Report,
    ReportKind,
)
from bot.web.api.fields import FullName, Query
from bot.web.api.models import Shown
from bot.web.api.operation import Call, Operation
from bot.web.guard import Mine, mine
from bot.web.rules import SOME
from bot.web.why.entries import Happened, Known, told, verdict
from bot.web.why.question import Question, read
from bot.web.why.subject import Subject, found

_PAYLOAD: Any = Delivery.payload
_RECENT = 1000  # deliveries of a repository among which those are looked for that led to nothing
_MOST = 200  # rows of a kind

NO_QUESTION = (
    "say a commit (7 characters at least), #NUMBER, a branch, a run (17), a job (17-2), or an address of one"
)


class WhyQuery(Query):
    """What is asked about."""

    q: Annotated[
        str,
        Field(
            min_length=1,
            max_length=500,
            pattern=r"^[^\x00]+$",
            description="a commit, #number, a branch, a run, a job, or an address",
        ),
    ]
    repository: FullName | None = None


class EntryShown(Shown):
    """Something that happened."""

    at: datetime
    kind: Happened
    what: str
    state: str
    link: str


class WhyShown(Shown):
    """What happened to it, in order."""

    repository: str
    sha: str
    pull_number: int | None
    runs: list[int]
    verdict: str
    entries: list[EntryShown]


@dataclass(frozen=True)
class Why:
    """The operation, and what the page asks."""

    store: Store
    github_url: str

    def operations(self) -> list[Operation]:
        summary = "What happened to a commit, a pull request, a run or a job, in order"
        return [Operation("GET", "/why", SOME, summary, self.why, WhyShown, WhyQuery)]

    async def why(self, call: Call) -> WhyShown:
        query: WhyQuery = call.query
        return await self.of(mine(call.request), query.q, query.repository or "")

    async def of(self, readable: Mine, asked: str, repository: str = "") -> WhyShown:
        """Of what is `readable`. Raises HTTPException for what is no question, and where nothing is known."""
        question = read(asked, repository)
        if question is None:
            raise HTTPException(422, NO_QUESTION)
        async with self.store.reading() as session:
            subject = await found(session, question, readable)
            if subject is None:
                raise HTTPException(404, nothing(question))
            known = await gathered(session, subject, self.github_url)
        return WhyShown(
            repository=subject.repository.full_name if subject.repository else "",
            sha=subject.sha,
            pull_number=subject.pull,
            runs=[run.id or 0 for run in known.runs],
            verdict=verdict(known),
            entries=[EntryShown.model_validate(entry) for entry in told(known)],
        )


def nothing(question: Question) -> str:
    """Pure: where nothing is known, what to look at."""
    where = f" in {question.repository}" if question.repository else ""
    return f"nothing is known here of that{where}: was it pushed, and does /deliveries list it?"


async def gathered(session: AsyncSession, subject: Subject, github_url: str) -> Known:
    """All that is known."""
    name = subject.repository.full_name if subject.repository else ""
    runs = sorted(subject.runs, key=lambda run: run.id or 0)
    ids = [run.id for run in runs]
    theirs = select(Job).where(col(Job.run_id).in_(ids)).order_by(col(Job.created_at), col(Job.id))
    jobs = (await session.exec(theirs)).all()
    names = [job.id for job in jobs]
    ended = select(AttemptRow).where(col(AttemptRow.job_id).in_(names))
    attempts = [
        *(await session.exec(ended)).all(),
        *(attempt_of(job) for job in jobs if job.state is JobState.RUNNING),
    ]
    images = (await session.exec(select(Image).where(col(Image.job_id).in_(names)))).all()
    out = select(Release).where(col(Release.run_id).in_(ids)).order_by(col(Release.id))
    releases = (await session.exec(out)).all()
    where = {release.environment_id for release in releases}
    places = (await session.exec(select(Environment).where(col(Environment.id).in_(where)))).all()
    later = select(Release).where(col(Release.environment_id).in_(where), col(Release.live_at).is_not(None))
    return Known(
        page=f"{github_url}/{name}",
        runs=runs,
        deliveries=await _deliveries(session, subject, [run.delivery_guid for run in runs]),
        commands=await _commands(session, subject),
        approvals=await _approvals(session, subject),
        jobs=jobs,
        attempts=attempts,
        images=images,
        sources=await _sources(session, images),
        releases=releases,
        later=(await session.exec(later)).all(),
        places={place.id or 0: place for place in places},
        reports=await _reports(session, subject, releases),
    )


async def _deliveries(session: AsyncSession, subject: Subject, guids: Sequence[str | None]) -> list[Delivery]:
    """Those that led to the runs, and of the newest those that name the commit and led to none."""
    light = defer(_PAYLOAD)
    wanted = [*filter(None, guids), subject.delivery]
    named = (await session.exec(select(Delivery).where(col(Delivery.guid).in_(wanted)).options(light))).all()
    others: Sequence[Delivery] = ()
    if subject.repository is not None and len(subject.sha) >= 7 and not subject.delivery:
        recent = (
            select(Delivery.guid)
            .where(Delivery.repository_id == subject.repository.id)
            .order_by(col(Delivery.received_at).desc())
            .limit(_RECENT)
        )
        about = select(Delivery).where(
            col(Delivery.guid).in_(recent), col(Delivery.payload).contains(subject.sha, autoescape=True)
        )
        others = (await session.exec(about.options(light).limit(_MOST))).all()
    mine = {row.guid: row for row in (*others, *named)}
    return sorted(mine.values(), key=lambda row: row.received_at)


async def _commands(session: AsyncSession, subject: Subject) -> Sequence[CommandRow]:
    if subject.repository is None:
        return ()
    mine = select(CommandRow).where(CommandRow.repository_id == subject.repository.id)
    if subject.pull is not None and len(subject.runs) != 1:
        mine = mine.where(CommandRow.pull_number == subject.pull)
    else:
        mine = mine.where(CommandRow.sha == subject.sha)
    return (await session.exec(mine.order_by(col(CommandRow.id).desc()).limit(_MOST))).all()


async def _approvals(session: AsyncSession, subject: Subject) -> Sequence[Approval]:
    if subject.repository is None:
        return ()
    mine = select(Approval).where(Approval.repository_id == subject.repository.id)
    mine = mine.where(Approval.sha == subject.sha)
    return (await session.exec(mine.limit(_MOST))).all()


async def _sources(session: AsyncSession, images: Sequence[Image]) -> dict[str, str]:
    """Digests that were reused ▸ the jobs that built them."""
    reused = [image.digest for image in images if image.reused]
    if not reused:
        return {}
    repositories = {image.repository_id for image in images}
    built = select(Image.digest, Image.job_id).where(
        col(Image.repository_id).in_(repositories), col(Image.digest).in_(reused), Image.reused == ""
    )
    return dict((await session.exec(built)).all())


async def _reports(session: AsyncSession, subject: Subject, releases: Sequence[Release]) -> Sequence[Report]:
    """What GitHub was told of the commit, the releases, and the pull request."""
    if subject.repository is None:
        return ()
    mine = select(Report).where(Report.repository_id == subject.repository.id)
    keys = [f"deployment:{release.id}" for release in releases]
    if subject.pull is not None:
        keys.append(f"comment:{subject.pull}")
    about: Any = col(Report.key).in_(keys)
    if subject.sha:
        status = (col(Report.kind) == ReportKind.STATUS) & col(Report.key).startswith(
            f"status:{subject.sha}", autoescape=True
        )
        about = about | status
    rows = (await session.exec(mine.where(about).order_by(col(Report.id).desc()).limit(_MOST))).all()
    return sorted(rows, key=lambda row: row.id or 0)
