"""What workers tell that their containers printed: kept where it is theirs to tell."""

from __future__ import annotations

import time
from collections import defaultdict

from bot.fleet.ownership import Owner, name, owner, plain
from bot.store.database import Store
from bot.store.outputs import Outputs, Said
from workers.contract.messages import Printed, Reached
from workers.contract.outputs import LONGEST, Output

_AHEAD = 3600 * 1_000_000_000  # nanoseconds


async def kept(store: Store, outputs: Outputs, printed: Printed) -> Reached:
    """Keep the lines; how far each container is now."""
    async with store.reading() as session:
        told = [
            (await owner(session, printed.worker, output.whose, store.instance), output)
            for output in printed.outputs
        ]
    owners = [(whose, output) for whose, output in told if whose]
    said: defaultdict[int, list[Said]] = defaultdict(list)
    for whose, output in owners:
        said[whose.environment] += _said(whose, output)
    at: dict[str, int] = {}
    for environment, lines in said.items():
        reached = await outputs.append(environment, lines)
        mine = [one.whose.container for whose, one in owners if whose.environment == environment]
        at |= {container: reached.get(name(container), 0) for container in mine}
    return Reached(at=at)


def _said(whose: Owner, output: Output) -> list[Said]:
    """Its lines in the form that is kept. A clock that is far ahead of ours is not believed."""
    one, latest = output.whose, time.time_ns() + _AHEAD
    process, called, container = name(one.process), name(one.name), name(one.container)
    return [
        Said(line.at, plain(line.text[:LONGEST]), process, called, container, whose.release, line.note)
        for line in output.lines
        if 0 < line.at < latest
    ]
