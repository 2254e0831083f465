"""Answers to what workers ask: may I have this job, do I still have it, may traffic come here."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Literal, assert_never

import structlog
from sqlalchemy import update
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot import containers, ending, fleet, images, lifecycle, plan, releases, reports, specs, texts
from bot.github.client import GitHubError, GitHubUnavailable
from bot.github.forge import GitHub
from bot.routing.router import Router, free_port, retire
from bot.secrets import Secrets
from bot.store.database import Store
from bot.store.tables import (
    Environment,
    Job,
    JobState,
    Release,
    ReleaseState,
    Repository,
    Run,
    WorkerRow,
)
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import (
    Answer,
    Asked,
    AttemptRef,
    BuildSpec,
    Claim,
    DeploySpec,
    Grant,
    Heartbeat,
    HeartbeatAnswer,
    Kind,
    Lookup,
    Nudge,
    Ready,
    Refusal,
    StopSpec,
    now,
)
from workers.contract.queue import BotQueue, QueueDown
from workers.contract.seal import seal

_NO_TOKEN_WAIT = 30.0  # seconds

log = structlog.get_logger()


class Grants:
    """The bot's side of every request of a worker's."""

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

    async def answer(self, request: Asked) -> Answer:
        """Any request's answer."""
        match request:
            case Claim():
                return await self._claim(request)
            case Heartbeat():
                return await self._heartbeat(request)
            case Lookup():
                return await images.lookup(self._store, request, local=not self._settings.registry)
            case Ready():
                return await self._router.ready(request)
            case _:
                assert_never(request)

    async def _claim(self, claim: Claim) -> Grant | Refusal:
        async with self._store.reading() as session:
            job = await session.get(Job, claim.job)
            if job is None:
                return Refusal(reason="there is no such job")
            repository = await session.get_one(Repository, job.repository_id)
        if job.state is JobState.RUNNING and claim.redelivered and await self._gone(job, claim):
            await ending.lost(self._store, job, f"worker {job.worker} has gone")
        if job.state not in (JobState.QUEUED, JobState.RUNNING):
            return Refusal(reason=f"it is {job.state}")
        if job.state is JobState.QUEUED and (reason := await self._elsewhere(job, claim)):
            return Refusal(reason=reason)
        try:
            if moved := await self._moved(job, repository):
                return Refusal(reason=moved)
            token = await self._github.clone_token(repository) if job.kind is Kind.BUILD else ""
            build, env = await self._secret(job, repository)
        except GitHubError as error:
            await self._offer_later(job, error)
            return Refusal(reason=str(error))
        sealed = seal(specs.credentials(self._settings, token, build=build, env=env), claim.public_key)
        try:
            async with self._store.transaction() as session:
                answer = await self._grant(session, claim, repository, sealed)
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
            other = await fleet.elsewhere(session, job, claim.worker, lease=lease, local=local)
        if other is None:
            return None
        async with self._store.transaction() as session:
            row = await session.get_one(Job, job.id)
            if row.state is JobState.QUEUED:
                row.not_before, row.offered_at = now() + timedelta(seconds=other.wait), None
                if other.told and row.sentence != other.reason:
                    row.sentence = other.reason
                    await reports.job_changed(session, row, await session.get_one(Run, row.run_id), None)
        return other.reason

    async def _secret(self, job: Job, repository: Repository) -> tuple[dict[str, str], dict[str, str]]:
        """The secrets of a build, and those of a release's containers. A stranger's code gets none."""
        names = [*job.spec.get("secrets", ()), *filter(None, [job.spec.get("ssh")])]
        if job.spec.get("fork") or job.kind is Kind.STOP:
            return {}, {}
        place = job.environment or ""
        preview = plan.is_preview(place) or bool(job.spec.get("preview"))
        found = await self._secrets.of(repository.id, names, place, preview=preview)
        return (found, {}) if job.kind is Kind.BUILD else ({}, found)

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

    async def _gone(self, job: Job, claim: Claim) -> bool:
        """Whether the worker that has the job is not connected any more, as far as we can know.

        While our own connection is younger than its last word, its absence says nothing: the broker may
        have restarted, and it is on its way back. Then its lease decides.
        """
        if job.instance == claim.instance or job.worker is None or job.lease_until is None:
            return False
        heard_ago = self._settings.lease - (job.lease_until - now()).total_seconds()
        try:
            reached = await self._queue.order(job.worker, Nudge())
        except QueueDown:
            return False
        return not reached and time.monotonic() - self._queue.connected_at > heard_ago

    async def _grant(
        self, session: AsyncSession, claim: Claim, repository: Repository, sealed: str
    ) -> Grant | Refusal:
        job = await session.get_one(Job, claim.job)
        again = job.state is JobState.RUNNING and job.nonce == claim.nonce
        if not again:
            if job.state is not JobState.QUEUED or job.not_before > now():
                return Refusal(reason=f"it is {job.state}")
            moved = await lifecycle.move(
                session,
                job,
                JobState.RUNNING,
                attempt=job.attempt + 1,
                worker=claim.worker,
                instance=claim.instance,
                nonce=claim.nonce,
                lease_until=self._lease_end(),
                started_at=now(),
                reason="",
                sentence="",
                failed_step=None,
                fault=None,
            )
            if not moved:
                return Refusal(reason="another worker was quicker")
        spec = await self._spec(session, job, repository)
        log.info("job granted", job=job.id, attempt=job.attempt, worker=claim.worker, again=again)
        return Grant(job=job.id, attempt=job.attempt, lease=self._settings.lease, spec=spec, sealed=sealed)

    async def _spec(
        self, session: AsyncSession, job: Job, repository: Repository
    ) -> BuildSpec | DeploySpec | StopSpec:
        match job.kind:
            case Kind.BUILD:
                clone_url = self._github.clone_url(repository)
                return specs.build(job, repository, clone_url, self._settings, self._store.instance)
            case Kind.DEPLOY:
                release = await _release(session, job)
                port, serving = await self._one_port(session, release)
                return specs.deploy(
                    job, repository, release, self._settings, self._store.instance,
                    host_port=port, serving=serving,
                )  # fmt: skip
            case Kind.STOP:
                place = job.environment or job.name
                await retire(session, job.repository_id, place, asleep=bool(job.spec.get("sleeps")))
                target = await _target(session, job)
                return specs.stop(job, repository, self._store.instance, target)

    async def _one_port(self, session: AsyncSession, release: Release) -> tuple[int | None, Release | None]:
        """Without a proxy: the port that an environment has for good, and the release that has it now.

        On the host's network there is such a release too.
        """
        if self._settings.proxy != "none" and not release.settings.get("host_network"):
            return None, None
        live = select(Release).where(
            Release.environment_id == release.environment_id, Release.state == ReleaseState.LIVE
        )
        serving = (await session.exec(live)).first()
        if self._settings.proxy != "none":
            return None, serving
        environment = await session.get_one(Environment, release.environment_id)
        environment.port = environment.port or await free_port(session, self._settings)
        return environment.port, serving

    async def _heartbeat(self, beat: Heartbeat) -> HeartbeatAnswer:
        async with self._store.transaction() as session:
            worker = await self._note(session, beat)
            await containers.note(session, beat, worker, self._store.instance)
            lost, cancelled = [], []
            for attempt in beat.attempts:
                job = await session.get(Job, attempt.job)
                if not _holds(job, attempt, beat):
                    lost.append(attempt)
                elif job is not None and job.cancelling:
                    cancelled.append(attempt)
            kept = [attempt.job for attempt in beat.attempts if attempt not in lost]
            await session.exec(
                update(Job)
                .where(col(Job.id).in_(kept), col(Job.instance) == beat.instance)
                .where(col(Job.state) == JobState.RUNNING)
                .values(lease_until=self._lease_end())
            )
            retired, proving = await _fates(session, beat, self._store.instance)
            kept_images = await images.kept(session)
            left = select(Job).where(
                Job.worker == beat.worker, Job.state == JobState.RUNNING, Job.instance != beat.instance
            )
            orphans = (await session.exec(left)).all()
        for job in orphans:
            await ending.lost(self._store, job, f"worker {beat.worker} has started anew")
        return HeartbeatAnswer(
            lease=self._settings.lease,
            lost=lost,
            cancelled=cancelled,
            retired=retired,
            proving=proving,
            kept=kept_images,
            instance=self._store.instance,
        )

    async def _note(self, session: AsyncSession, beat: Heartbeat) -> WorkerRow:
        row = await session.get(WorkerRow, beat.worker) or WorkerRow(
            name=beat.worker, instance="", pool="", slots=0, address="", software=""
        )
        if row.instance != beat.instance:
            row.started_at = now()
        told = ("instance", "pool", "slots", "address", "software", "draining", "stopped")
        for field in (*told, "disk_free", "problem"):
            setattr(row, field, getattr(beat, field))
        row.running, row.seen_at = len(beat.attempts), now()
        session.add(row)
        return row

    def _lease_end(self) -> datetime:
        return now() + timedelta(seconds=self._settings.lease)


def _holds(job: Job | None, attempt: AttemptRef, beat: Heartbeat) -> bool:
    return (
        job is not None
        and job.state is JobState.RUNNING
        and job.attempt == attempt.attempt
        and job.instance == beat.instance
    )


async def _release(session: AsyncSession, job: Job) -> Release:
    """The deploy's release; its containers are those of this attempt."""
    release = await releases.of(session, job)
    release.attempt, release.worker, release.state = job.attempt, job.worker, ReleaseState.STARTING
    await session.flush()
    return release


async def _target(session: AsyncSession, job: Job) -> Literal["containers", "swarm"]:
    """What runs an environment, as its newest release says."""
    newest = (
        select(Release)
        .join(Environment, col(Environment.id) == col(Release.environment_id))
        .where(Environment.repository_id == job.repository_id, Environment.name == job.environment)
        .order_by(col(Release.id).desc())
    )
    release = (await session.exec(newest)).first()
    return "swarm" if release is not None and release.settings.get("target") == "swarm" else "containers"


async def _fates(session: AsyncSession, beat: Heartbeat, instance: str) -> tuple[list[str], list[str]]:
    """The worker's releases whose containers are to go, and those that are to be probed on.

    All go but the live, the starting and the draining. Those of another instance, whose worker has the same
    name on the same engine, are none of ours.
    """
    ours = {one.release for one in beat.containers if one.release.startswith(f"{instance}.")}
    ids = [int(name.split(".")[1]) for name in ours if name.split(".")[1].isdigit()]
    kept, proving, at = set(), [], now()
    for release in (await session.exec(select(Release).where(col(Release.id).in_(ids)))).all():
        draining = release.state is ReleaseState.RETIRED and (release.remove_after or at) > at
        if draining or release.state in (ReleaseState.LIVE, ReleaseState.STARTING):
            kept.add(specs.release_name(instance, release))
        if release.state is ReleaseState.LIVE and (release.steady_at or at) > at:
            proving.append(specs.release_name(instance, release))
    return sorted(ours - kept), proving
