"""Which TCP ports lead where: for whoever passes connections on, and whoever tells people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.tables import Release, ReleaseState, TcpPort


def exposed(settings: Mapping[str, Any]) -> list[str]:
    """Pure: the processes of a release that have a TCP port, and the services that it goes with."""
    return [*_of(settings, "processes"), *services(settings)]


def processes(settings: Mapping[str, Any]) -> list[str]:
    """Pure: the processes alone, which each of its releases starts anew."""
    return _of(settings, "processes")


def services(settings: Mapping[str, Any]) -> list[str]:
    """Pure: the services alone. Nobody else has their names."""
    return _of(settings, "services")


def _of(settings: Mapping[str, Any], kind: str) -> list[str]:
    return [name for name, said in (settings.get(kind) or {}).items() if said.get("expose") is not None]


async def told(session: AsyncSession, release: Release | None) -> dict[str, str]:
    """HOST:PORT of each process and service of a release that has one, for people."""
    if release is None:
        return {}
    # Whoever shows many releases has not read their settings.
    kept: Any = col(Release.settings)
    said = select(kept["processes"], kept["services"]).where(Release.id == release.id)
    found = (await session.exec(said)).first()
    names = exposed(dict(zip(("processes", "services"), found or (), strict=False)))
    mine = select(TcpPort).where(TcpPort.environment_id == release.environment_id).order_by(col(TcpPort.port))
    return {row.process: row.address for row in (await session.exec(mine)).all() if row.process in names}


async def leading(session: AsyncSession) -> dict[int, list[str]]:
    """Where each port leads now: IP:PORT of each container of what is live."""
    live = (
        select(TcpPort, Release)
        .join(Release, col(Release.environment_id) == col(TcpPort.environment_id))
        .where(Release.state == ReleaseState.LIVE)
    )
    return {
        row.port: theirs
        for row, release in (await session.exec(live)).all()
        if row.process in exposed(release.settings) and (theirs := (release.further or {}).get(row.process))
    }
