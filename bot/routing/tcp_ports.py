"""A TCP port for each process or service that exposes one: for good, given before anything starts."""

from __future__ import annotations

from sqlalchemy import ColumnElement
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.routing.router import is_free
from bot.store.tables import Environment, Release, TcpPort
from bot.store.tcp_ports import exposed
from config.errors import ConfigError
from config.networks import netloc
from config.settings import Settings


class NoTcpPort(ConfigError):
    """There is none for a process that exposes one; the text says why."""


async def given(session: AsyncSession, release: Release, settings: Settings) -> None:
    """Have each process or service that exposes a port have one. Raises NoTcpPort if none is left."""
    wanted = exposed(release.settings)
    if not wanted:
        return
    mine = select(TcpPort).where(TcpPort.environment_id == release.environment_id)
    known = {row.process: row for row in (await session.exec(mine)).all()}
    for process in wanted:
        row = known.get(process)
        if row is None or row.port not in _ports(settings):
            if row is not None:
                await session.delete(row)
                await session.flush()
            port = await _free(session, settings)
            row = TcpPort(environment_id=release.environment_id, process=process, port=port, address="")
        row.address = netloc(settings.environment_host, row.port)
        session.add(row)
        await session.flush()


async def standing(session: AsyncSession, settings: Settings) -> tuple[int, int]:
    """How many ports of TCP_PORTS environments have, and how many are left."""
    stays = select(Environment.id).where(~_ended())
    wanted = select(TcpPort.port).where(col(TcpPort.environment_id).in_(stays))
    theirs = set((await session.exec(wanted)).all())
    left = [one for one in _ports(settings) if one not in theirs and is_free(one, settings.proxy_bind)]
    return len(theirs.intersection(_ports(settings))), len(left)


def _ports(settings: Settings) -> range:
    if not settings.tcp_ports:
        return range(0)
    first, last = map(int, settings.tcp_ports.split("-"))
    return range(first, last + 1)


async def _free(session: AsyncSession, settings: Settings) -> int:
    """One that no environment has, and nothing else on this machine listens at."""
    if not settings.tcp_ports:
        raise NoTcpPort(
            "A process or service exposes a TCP port, and this instance gives none any more:"
            " TCP_PORTS is empty"
        )
    theirs = select(TcpPort.port)
    if (await session.exec(theirs)).all():
        await _forget(session)
    taken = set((await session.exec(theirs)).all())
    for port in _ports(settings):
        if port not in taken and is_free(port, settings.proxy_bind):
            return port
    raise NoTcpPort(
        "No TCP port is left for a process or service that exposes one:"
        f" all of {settings.tcp_ports} (TCP_PORTS) are other environments', or something else on the bot's"
        " machine listens there"
    )


async def _forget(session: AsyncSession) -> None:
    """The ports of environments that are gone, and of previews that have ended, are others' to have."""
    there = select(Environment.id).where(~_ended())
    await session.exec(delete(TcpPort).where(col(TcpPort.environment_id).not_in(there)))


def _ended() -> ColumnElement[bool]:
    """Previews that need their ports no more."""
    return col(Environment.pull_number).is_not(None) & col(Environment.stopped) & ~col(Environment.asleep)
