"""May I have this job: a grant with its credentials, or a refusal with its reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import structlog
from sqlalchemy import func
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions import plan
from bot.fleet import roster, services, tasks, warmth
from bot.fleet.assignments import Assignments
from bot.github.client import GitHubError, GitHubUnavailable
from bot.github.forge import GitHub
from bot.jobs import awaiting, backups, ending, lifecycle, releases, specs, trusts, turns
from bot.jobs import tasks as of_jobs
from bot.reports import rows, texts
from bot.routing.router import Router
from bot.routing.tcp_ports import NoTcpPort
from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.store.tables import Job, JobState, Release, Repository, Run
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import (
    Claim,
    Credentials,
    Failed,
    Fault,
    Grant,
    Kind,
    Nudge,
    Refusal,
    StopSpec,
    Take,
    now,
)
from workers.contract.queue import BotQueue, QueueDown
from workers.contract.seal import seal

_NO_TOKEN_WAIT = 30.0  # seconds
_ON_ITS_WAY = 3.0  # seconds that a worker has to come back from another node …
_LOOK = 0.25  # … and between two looks for it

log = structlog.get_logger()


class Claims:
    """Who gets which job: what is read before, and the one move that grants it."""

    def __init__(
        self,
        store: Store,
        queue: BotQueue,
        github: GitHub,
        router: Router,
        secrets: Secrets,
        settings: Settings,
    ) -> None:
        self._store = store
        self._queue = queue
        self._github = github
        self._router = router
        self._secrets = secrets
        self._settings = settings
        self._assignments = Assignments(github, settings, store.instance)

    async def answer(self, claim: Claim) -> Grant | Refusal:
        async with self._store.reading() as session:
            job = await session.get(Job, claim.job)
            if job is None:
                return Refusal(reason="there is no such job")
            carried = await warmth.carried(session, job.id)
        if asked_before := next((one for one in carried if one.nonce == claim.nonce), None):
            return await self._answered(asked_before, claim)
        for one in (job, *carried):
            if one.state is JobState.RUNNING and claim.redelivered and await self._gone(one, claim):
                await ending.lost(self._store, one, f"worker {one.worker} has gone")
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            return Refusal(reason=f"it is {job.state}")
        if job.state is JobState.QUEUED and (reason := await self._elsewhere(job, claim)):
            return Refusal(reason=reason)
        if (better := await self._better(job, claim)) is not None:
            answer = await self._answered(better, claim)
            if isinstance(answer, Grant):
                return answer
        return await self._answered(job, claim)

    async def _better(self, job: Job, claim: Claim) -> Job | None:
        """What this worker has more of than of the job whose offer it took."""
        lease, local = self._settings.lease, not self._settings.registry
        async with self._store.reading() as session:
            other = await warmth.better(session, job, claim, lease=lease, local=local)
            return None if other is None or await self._too_many(session, other) else other

    async def _answered(self, job: Job, claim: Claim) -> Grant | Refusal:
        """The grant of a job, by the offer that the claim names, or why there is none."""
        async with self._store.reading() as session:
            repository = await session.get_one(Repository, job.repository_id)
            live = await _live(session, job)
        if job.kind is Kind.TASK and live is None:
            return Refusal(reason=await tasks.ended_nowhere(self._store, job))
        try:
            if moved := await self._moved(job, repository):
                return Refusal(reason=moved)
            known = await self._known(job, repository, live)
        except GitHubError as error:
            await self._offer_later(job, error)
            return Refusal(reason=str(error))
        except ConfigError as error:  # the key of the store's secrets is missing, or another
            log.error("a job's secrets cannot be opened", job=job.id, error=str(error))
            await self._given_up(job, "no_key", texts.NO_KEY)
            return Refusal(reason=texts.NO_KEY)
        try:
            async with self._store.transaction() as session:
                sealed = seal(known, claim.public_key)
                answer = await self._grant(session, job.id, claim, repository, sealed, live)
        except NoTcpPort as error:
            await self._given_up(job, "no_tcp_port", str(error))
            return Refusal(reason=str(error))
        except ConfigError as error:  # no port is left
            log.error("a job cannot be granted", job=job.id, error=str(error))
            return Refusal(reason=str(error), retry=True)
        if isinstance(answer, Grant) and isinstance(answer.spec, StopSpec):
            await self._router.closed()
        return answer

    async def _elsewhere(self, job: Job, claim: Claim) -> str | None:
        """Why this worker gets no job that only another can do; it is offered again for that one."""
        lease, local = self._settings.lease, not self._settings.registry
        async with self._store.reading() as session:
            other = await roster.elsewhere(session, job, claim.worker, lease=lease, local=local)
        if other is None:
            return None
        if await self._handed(job, other.free):
            return other.reason
        async with self._store.transaction() as session:
            row = await session.get_one(Job, job.id, with_for_update=True)
            if row.state is JobState.QUEUED:
                row.not_before, row.offered_at = now() + timedelta(seconds=other.wait), None
                if other.told and row.sentence != other.reason:
                    row.sentence = other.reason
                    await rows.job_changed(session, row, await session.get_one(Run, row.run_id), None)
        return other.reason

    async def _handed(self, job: Job, workers: Sequence[str]) -> bool:
        """Whether one of these was told to claim it: to meet it in the pool's queue would take its luck."""
        with suppress(QueueDown):
            for worker in workers:
                if await self._queue.order(worker, Take(job=job.id, pool=job.pool)):
                    return True
        return False

    async def _too_many(self, session: AsyncSession, job: Job, *, alone: bool = False) -> str | None:
        """Why a repository gets no further job now: what was offered in other pools may have been quicker.

        `alone`: until the transaction ends nobody else counts, so that of two claims one is after the other.
        """
        owner = await session.get_one(Repository, job.repository_id)
        most = turns.most(self._settings.repository_jobs, owner.at_once)
        if not most:
            return None
        if alone:
            await session.refresh(owner, with_for_update=True)
        running = select(func.count()).where(Job.repository_id == owner.id, Job.state == JobState.RUNNING)
        there = (await session.exec(running)).one()
        return f"{owner.full_name} has {there} jobs running of {most} at once" if there >= most else None

    async def _known(self, job: Job, repository: Repository, live: Release | None) -> Credentials:
        """What the attempt may know, and no more: a stranger's code gets no secret. `live`: of a task.

        Raises GitHubError, and ConfigError where no key opens its secrets.
        """
        if live is not None:
            return await tasks.known(self._secrets, self._settings, job, live)
        async with self._store.reading() as session:
            run = await session.get_one(Run, job.run_id)
            shipped = await releases.images(session, job) if job.kind is Kind.DEPLOY else None
        if job.kind is Kind.STOP or awaiting.awaited(job):
            return specs.credentials(job, self._settings)
        if job.kind is Kind.BUILD:
            return specs.credentials(
                job,
                self._settings,
                git_password=await self._github.clone_token(repository),
                trust=await self._secrets.trust(repository.id, trusts.of(run, job)),
                build=await self._secret(job, repository),
            )
        if job.kind in (Kind.BACKUP, Kind.RESTORE):
            return backups.opened(Credentials(), self._settings)
        known = specs.credentials(
            job,
            self._settings,
            env=await self._secret(job, repository),
            images=shipped.all if shipped else (),
        )
        return await services.known(self._store, self._secrets.services, self._settings, job, known)

    async def _secret(self, job: Job, repository: Repository) -> dict[str, str]:
        """The secrets of a build, or those of a release's containers."""
        if job.spec.get("fork"):
            return {}
        names = [*job.spec.get("secrets", ()), *filter(None, [job.spec.get("ssh")])]
        place = job.environment or ""
        preview = plan.is_preview(place) or bool(job.spec.get("preview"))
        return await self._secrets.of(repository.id, names, place, preview=preview)

    async def _moved(self, job: Job, repository: Repository) -> str | None:
        """Why a job is not run any more: a pull request's head is read again before each build and deploy."""
        async with self._store.reading() as session:
            run = await session.get_one(Run, job.run_id)
        ours = run.ref == f"refs/pull/{run.pull_number}/head"
        if run.pull_number is None or not ours or job.kind is Kind.STOP or job.state is not JobState.QUEUED:
            return None
        head = await self._github.pull(repository, run.pull_number)
        if head.sha == job.sha:
            return None
        sentence = texts.shortened(f"Not run: the head has moved to {head.sha[:7]}", texts.MOST_STATUS)
        async with self._store.transaction() as session:
            row = await session.get_one(Job, job.id)
            if row.state is JobState.QUEUED:
                await lifecycle.cancel(session, row, "head_moved", sentence)
        return sentence

    async def _offer_later(self, job: Job, error: GitHubError) -> None:
        """Without a token for the clone no attempt starts: the job is offered again after a while."""
        wait = error.wait if isinstance(error, GitHubUnavailable) else _NO_TOKEN_WAIT
        log.warning("no token for a clone", job=job.id, error=str(error), seconds=wait)
        async with self._store.transaction() as session:
            row = await session.get_one(Job, job.id)
            if row.state is JobState.QUEUED:
                row.not_before, row.offered_at = now() + timedelta(seconds=wait), None

    async def _given_up(self, job: Job, reason: str, sentence: str) -> None:
        """No worker can be given what it needs, now or later: somebody has to put that right."""
        async with self._store.transaction() as session:
            row = await session.get_one(Job, job.id)
            if row.state is JobState.QUEUED:
                failure = Failed(fault=Fault.FINAL, reason=reason, sentence=sentence)
                await ending.failed(session, row, failure)

    async def _gone(self, job: Job, claim: Claim) -> bool:
        """Whether the worker that has the job is not connected any more, as far as we can know.

        While our own connection is younger than its last word, its absence says nothing: the broker may
        have restarted, and it is on its way back. Then its lease decides.
        """
        if job.instance == claim.instance or job.worker is None or job.lease_until is None:
            return False
        heard_ago = self._settings.lease - (job.lease_until - now()).total_seconds()
        try:
            reached = await self._reached(job.worker)
        except QueueDown:
            return False
        return not reached and time.monotonic() - self._queue.connected_at > heard_ago

    async def _reached(self, worker: str) -> bool:
        """Raises QueueDown. Of a cluster one node may be lost, and who was there is on the way to another."""
        until = time.monotonic() + (_ON_ITS_WAY if "," in self._settings.queue_url else 0.0)
        # Nobody tells us who is connected to a broker.
        while not (reached := await self._queue.order(worker, Nudge())) and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK)
        return reached

    async def _granted_already(self, session: AsyncSession, claim: Claim) -> bool:
        """Whether a slot that asked once more has got a job meanwhile: it starts one."""
        same = (Job.worker == claim.worker, Job.instance == claim.instance, Job.nonce == claim.nonce)
        running = select(Job.id).where(Job.state == JobState.RUNNING, *same)
        return (await session.exec(running.limit(1))).first() is not None

    async def _grant(
        self,
        session: AsyncSession,
        job_id: str,
        claim: Claim,
        repository: Repository,
        sealed: str,
        live: Release | None,
    ) -> Grant | Refusal:
        job = await session.get_one(Job, job_id)
        now_live = await _live(session, job)
        if live is not None and (now_live is None or now_live.id != live.id):
            return Refusal(reason="another release is live by now, with secrets of its own", retry=True)
        again = job.state is JobState.RUNNING and job.nonce == claim.nonce
        if not again:
            if job.state is not JobState.QUEUED or job.not_before > now():
                return Refusal(reason=f"it is {job.state}")
            if await self._granted_already(session, claim):
                return Refusal(reason="this claim has another job by now", retry=True)
            if why := await self._too_many(session, job, alone=True):
                job.offered_at = None  # it stands in line again
                return Refusal(reason=why)
            moved = await lifecycle.move(
                session,
                job,
                JobState.RUNNING,
                attempt=job.attempt + 1,
                worker=claim.worker,
                instance=claim.instance,
                nonce=claim.nonce,
                carrier=claim.job if claim.job != job.id else None,
                passed_at=None,
                lease_until=lifecycle.lease_end(self._settings.lease),
                started_at=now(),
                reason="",
                sentence="",
                failed_step=None,
                fault=None,
                exit_code=None,
            )
            if not moved:
                return Refusal(reason="another worker was quicker")
            owner = await session.get_one(Repository, job.repository_id)
            await warmth.granted(session, job, owner, claim.job)
        spec = await self._assignments.spec(session, job, repository)
        log.info("job granted", job=job.id, attempt=job.attempt, worker=claim.worker, again=again)
        return Grant(job=job.id, attempt=job.attempt, lease=self._settings.lease, spec=spec, sealed=sealed)


async def _live(session: AsyncSession, job: Job) -> Release | None:
    """The release that a task runs in; no other job has any."""
    if job.kind is not Kind.TASK:
        return None
    return await of_jobs.live(session, job.repository_id, job.environment or "")
