"""What workers tell of their containers: kept in the store, and written only where something changed."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.jobs import services
from bot.jobs.specs import release_name
from bot.routing.places import place_of
from bot.routing.upstreams import Reach
from bot.routing.ways import addresses
from bot.store import tcp_ports
from bot.store.tables import ContainerRow, Release, ReleaseState, WorkerRow
from config.processes import WEB
from config.settings import Settings
from workers.contract.messages import ContainerState, Heartbeat, ServiceState, now

log = structlog.get_logger()

GONE = "gone"
# A worker that has just started may not have its engine's answer yet: then its list is empty.
_SETTLED = timedelta(seconds=30)
_TOLD = ("running", "restarts", "exit_code", "out_of_memory", "health", "failing", "last_lines")


async def note(
    session: AsyncSession, beat: Heartbeat, worker: WorkerRow, instance: str, settings: Settings
) -> bool:
    """Keep what a heartbeat says of the containers of our releases; whether that is all that is kept of them.

    It is not where containers are missed.
    """
    known = await _known(session, beat.worker)
    told = {name: state for name, state in _named(beat) if state.release.startswith(f"{instance}.")}
    ids = {row.release_id for row in known.values()} | {_release_id(state) for state in told.values()}
    if not ids:
        return True
    rows = (await session.exec(select(Release).where(col(Release.id).in_(ids)))).all()
    names = {release_name(instance, row): row for row in rows}
    for name, state in told.items():
        row = known.pop(name, None)
        # What stands aside for a deploy was stopped by its worker, and serves again if that fails.
        if (release := names.get(state.release)) and release.worker == beat.worker and not state.aside:
            _keep(session, row, beat.worker, name, state)
    for label, release in names.items():
        if release.state is ReleaseState.LIVE and release.worker == beat.worker:
            place = await place_of(session, release)
            reach = Reach.of(worker, place, settings)
            _follow(release, reach, [state for state in told.values() if state.release == label])
            whose = services.place(instance, place.repository.id, place.environment.name)
            _follow_services(release, reach, [one for one in beat.services if one.place == whose])
    live = {row.id for row in rows if row.state is ReleaseState.LIVE and row.worker == beat.worker}
    missed = [row for row in known.values() if row.release_id in live]
    for row in known.values():
        if row not in missed:
            await session.delete(row)
        elif now() - worker.started_at > _SETTLED and row.health != GONE:
            row.running, row.health, row.seen_at = False, GONE, now()
    return not missed


def _follow(release: Release, reach: Reach, told: list[ContainerState]) -> None:
    """An engine that was restarted may publish the same containers elsewhere: then the route follows."""
    for process in {WEB, *(release.further or {})}:
        mine = [one for one in told if one.process == process and one.running and one.address]
        there, before = [state.address for state in mine], addresses(release, process)
        if len(there) != len(before) or set(there) == set(before):
            continue
        if reason := reach.refusal(there):
            log.warning("a worker's containers are not followed", release=release.id, why=reason)
        elif process == WEB:
            release.addresses = there
        else:
            release.further = {**(release.further or {}), process: there}


def _follow_services(release: Release, reach: Reach, told: list[ServiceState]) -> None:
    """One that runs in another container, as after an update, is published elsewhere than at the deploy."""
    for name in tcp_ports.services(release.settings):
        there = [one.address for one in told if one.service == name and one.running and one.address]
        if not there or there == addresses(release, name):
            continue
        if reason := reach.refusal(there):
            log.warning("a worker's service is not followed", release=release.id, service=name, why=reason)
        else:
            release.further = {**(release.further or {}), name: there}


async def _known(session: AsyncSession, worker: str) -> dict[str, ContainerRow]:
    rows = (await session.exec(select(ContainerRow).where(ContainerRow.worker == worker))).all()
    return {row.name: row for row in rows}


def _named(beat: Heartbeat) -> list[tuple[str, ContainerState]]:
    return [(state.name or f"{state.release}/{place}", state) for place, state in enumerate(beat.containers)]


def _release_id(state: ContainerState) -> int:
    parts = state.release.split(".")
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else 0


def _keep(
    session: AsyncSession, row: ContainerRow | None, worker: str, name: str, state: ContainerState
) -> None:
    at, release = now(), _release_id(state)
    if row is None or row.release_id != release:
        row = row or ContainerRow(worker=worker, name=name, release_id=release, running=state.running)
        row.process = state.process
        row.release_id, row.restarts, row.restarted_at = release, 0, None
    elif all(getattr(row, field) == getattr(state, field) for field in _TOLD):
        return
    row.restarted_at = _restarted(row, state, at)
    for field in _TOLD:
        setattr(row, field, getattr(state, field))
    row.seen_at = at
    session.add(row)


def _restarted(row: ContainerRow, state: ContainerState, at: datetime) -> datetime | None:
    return at if state.restarts > row.restarts else row.restarted_at
