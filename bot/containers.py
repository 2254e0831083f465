"""What workers tell of their containers: kept in the store, and written only where something changed."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.specs import release_name
from bot.store.tables import ContainerRow, Release, ReleaseState, WorkerRow
from workers.contract.messages import ContainerState, Heartbeat, now

GONE = "gone"
# A worker that has just started may not have its engine's answer yet: then its list is empty.
_SETTLED = timedelta(seconds=30)
_TOLD = ("running", "restarts", "exit_code", "out_of_memory", "health", "failing", "last_lines")


async def note(session: AsyncSession, beat: Heartbeat, worker: WorkerRow, instance: str) -> None:
    """Keep what a heartbeat says of the containers of our releases."""
    known = await _known(session, beat.worker)
    told = {name: state for name, state in _named(beat) if state.release.startswith(f"{instance}.")}
    ids = {row.release_id for row in known.values()} | {_release_id(state) for state in told.values()}
    if not ids:
        return
    rows = (await session.exec(select(Release).where(col(Release.id).in_(ids)))).all()
    names = {release_name(instance, row): row for row in rows}
    for name, state in told.items():
        row = known.pop(name, None)
        # What stands aside for a deploy was stopped by its worker, and serves again if that fails.
        if state.release in names and not state.aside:
            _keep(session, row, beat.worker, name, state)
    for label, release in names.items():
        if release.state is ReleaseState.LIVE and release.worker == beat.worker:
            _follow(release, [state for state in told.values() if state.release == label])
    live = {row.id for row in rows if row.state is ReleaseState.LIVE and row.worker == beat.worker}
    for row in known.values():
        if row.release_id not in live:
            await session.delete(row)
        elif now() - worker.started_at > _SETTLED and row.health != GONE:
            row.running, row.health, row.seen_at = False, GONE, now()


def _follow(release: Release, told: list[ContainerState]) -> None:
    """An engine that was restarted may publish the same containers elsewhere: then the route follows."""
    addresses = [state.address for state in told if state.running and state.address]
    if len(addresses) == len(release.addresses) and set(addresses) != set(release.addresses):
        release.addresses = addresses


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
