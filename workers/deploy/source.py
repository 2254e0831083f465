"""A preview's new services are filled from a backup and scrubbed, before anything of the release has them.

Where that fails, what was put in goes with its container and its volumes: it may not be for a preview.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from workers.attempt import Attempt
from workers.backup.restore import restored
from workers.backup.take import running, succeeded
from workers.contract.backups import Source
from workers.contract.failure import Failure, user
from workers.contract.messages import Step
from workers.contract.services import Services, ServiceSpec
from workers.deploy import service_news
from workers.engine.engine import EngineDown
from workers.tools import Tools

_GRACE = 2.0  # seconds that a container gets to end whose data is given up
_SHOWN = 64 * 1024  # bytes of what a scrub printed
_TELLING = 5.0  # seconds that the bot gets to hear of it


def possible(services: Services | None) -> None:
    """Pure: raises Failure where there is no backup to fill a service from."""
    for one in services.wanted if services else ():
        if one.source and not one.seeded and not one.source.refused and one.source.kept is None:
            raise user(
                "no_backup",
                f"There is no backup of {one.source.environment}'s {one.name} to fill this preview from:"
                " `blacktree backups run` takes one; or leave out `seed.from`",
            )


async def filled(attempt: Attempt, services: Services, empty: Sequence[ServiceSpec], tools: Tools) -> None:
    """Fill and scrub those that have a source. Raises Failure."""
    for one in empty:
        if one.source is None:
            continue
        if one.source.refused:
            attempt.log.line(f"{one.name}: stays empty: {one.source.refused}")
            continue
        try:
            await _filled(attempt, services, one, one.source, tools)
            await service_news.kept(attempt, tools, one.name, seeded=True)
        except BaseException:
            await emptied(attempt, services, one, tools)
            raise


async def _filled(
    attempt: Attempt, services: Services, one: ServiceSpec, source: Source, tools: Tools
) -> None:
    if source.kept is None or source.depot is None:
        raise user("no_backup", f"There is no backup of {source.environment}'s {one.name}")
    container = await running(services.place, one.name, tools)
    attempt.log.line(f"{one.name}: filled from the backup of {source.environment}")
    await restored(attempt, container, source.command, source.depot, source.kept, tools)
    if not source.scrub:
        return
    async with attempt.step(Step.SCRUB):
        attempt.log.line(f"{one.name}: {' '.join(source.scrub)}")
        said = bytearray()

        def take(piece: bytes) -> None:
            said.extend(piece)
            del said[:-_SHOWN]

        ended = await tools.engine.said_by(container.id, source.scrub, take)
        attempt.log.write(f"{said.decode(errors='replace')}{ended.said}\n")
        succeeded(ended, source.scrub, f"The scrub of {one.name}")


async def begun_anew(attempt: Attempt, services: Services, one: ServiceSpec, tools: Tools) -> None:
    """What was begun to be filled, and never scrubbed, is given up before it starts again."""
    if one.source is None or one.source.refused or one.seeded:
        return
    labels = {"worker": tools.worker, "place": services.place, "service": one.name}
    if await tools.engine.containers(labels) or await tools.engine.volumes(labels):
        await emptied(attempt, services, one, tools)


async def emptied(attempt: Attempt, services: Services, one: ServiceSpec, tools: Tools) -> None:
    """Its container and its volumes go: the next one is new."""
    labels = {"worker": tools.worker, "place": services.place, "service": one.name}
    with contextlib.suppress(EngineDown, Failure, TimeoutError):
        for container in await tools.engine.containers(labels):
            await tools.engine.remove(container.id, _GRACE)
        for volume in one.volumes:
            await tools.engine.remove_volume(volume)
        attempt.log.line(f"{one.name}: what was put in is removed, with its container and its volumes")
        async with asyncio.timeout(_TELLING):
            await service_news.kept(attempt, tools, one.name, gone=True)
