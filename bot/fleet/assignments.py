"""What a granted attempt is to do, read and noted in the transaction of its grant."""

from __future__ import annotations

from typing import Literal

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.fleet import services
from bot.github.forge import GitHub
from bot.jobs import awaiting, backups, releases, specs, tasks, trusts, updates
from bot.routing import tcp_ports
from bot.routing.router import free_port, retire
from bot.store.tables import Environment, Job, Release, ReleaseState, Repository, Run
from config.settings import Settings
from workers.contract.messages import Kind, Spec


class Assignments:
    """The specs of attempts of the instance `instance`."""

    def __init__(self, github: GitHub, settings: Settings, instance: str) -> None:
        self._github = github
        self._settings = settings
        self._instance = instance

    async def spec(self, session: AsyncSession, job: Job, repository: Repository) -> Spec:
        match job.kind:
            case Kind.BUILD if awaiting.awaited(job):
                return specs.pin(job, repository, self._settings)
            case Kind.BUILD:
                clone_url, run = self._github.clone_url(repository), await session.get_one(Run, job.run_id)
                return specs.build(
                    job, repository, clone_url, self._settings, self._instance, trusts.of(run, job)
                )
            case Kind.DEPLOY:
                release = await _release(session, job)
                port, serving = await self._one_port(session, release)
                await tcp_ports.given(session, release, self._settings)
                spec = specs.deploy(
                    job, repository, release, self._settings, self._instance,
                    host_port=port, serving=serving,
                )  # fmt: skip
                needs = await services.wanted(
                    session, job, repository, release, self._settings, self._instance
                )
                return spec.model_copy(update={"services": needs})
            case Kind.STOP:
                place = job.environment or job.name
                await retire(session, job.repository_id, place, asleep=bool(job.spec.get("sleeps")))
                target = await _target(session, job)
                return specs.stop(job, repository, self._instance, target)
            case Kind.TASK:
                live = await tasks.live(session, job.repository_id, job.environment or "")
                assert live is not None, "it was asked for in this transaction"  # noqa: S101
                return specs.task(job, repository, live, self._settings, self._instance)
            case Kind.BACKUP:
                return await backups.taking(session, job, repository, self._settings, self._instance)
            case Kind.RESTORE:
                return backups.restoring(job, repository, self._settings, self._instance)
            case Kind.UPDATE:
                newest = await releases.newest(session, job.repository_id, job.environment or "")
                assert newest is not None, "it was live when this was asked for"  # noqa: S101
                named = (job, repository, newest, self._settings, self._instance)
                return updates.spec(job, specs.deploy(*named), await services.wanted(session, *named))

    async def _one_port(self, session: AsyncSession, release: Release) -> tuple[int | None, Release | None]:
        """Without a proxy: the port that an environment has for good, and the release that has it now.

        On the host's network there is such a release too, and where a process must end before its successor
        begins.
        """
        alone = not all(said["overlap"] for said in (release.settings.get("processes") or {}).values())
        if self._settings.proxy != "none" and not release.settings.get("host_network") and not alone:
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
