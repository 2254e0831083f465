"""One seed from its first act to the last check."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.breaking import Breaking
from tests.chaos.checks import Checks, gone
from tests.chaos.people import People
from tests.chaos.schedule import Act, Break, Wish, acts
from tests.chaos.town import Parts, Town, town

_QUIET = 300.0  # seconds until nothing goes on any more, also where several seeds share a machine


@dataclass
class Outcome:
    """What one seed came to."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    runs: int = 0
    deliveries: int = 0
    gone: float = 0.0  # seconds in which the previews of the last pull requests went
    quiet: float = 0.0  # seconds until nothing went on any more


async def run(
    seed: int,
    seconds: float,
    folder: Path,
    parts: Parts,
    breaks: Collection[Break] = tuple(Break),
    *,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Live through a seed: `seconds` of acts, then until it is quiet, then the checks.

    `breaks` is what may be broken.
    """
    outcome = Outcome(seed)
    async with town(folder, parts) as here:
        people, breaking = People(here), Breaking(here)
        checks = Checks(here, people)
        await _lived(acts(seed, seconds, breaks), people, breaking, say)
        await _mended(here, calm=not breaks)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        if going := await checks.quiet(_QUIET):
            outcome.wrong.append(f"after {_QUIET:g} s there still is: {going}")
        outcome.quiet = loop.time() - begun
        for number in list(people.opened):
            await people.close(number)
        outcome.gone = await gone(here, 1, _QUIET)
        if going := await checks.quiet(_QUIET):
            outcome.wrong.append(f"after the last pull request was closed there still is: {going}")
        outcome.wrong += await checks.all()
        outcome.runs, outcome.deliveries = checks.runs, len(here.github.deliveries)
    return outcome


async def _lived(schedule: list[Act], people: People, breaking: Breaking, say: Callable[[str], None]) -> None:
    """Wishes one after the other, as one developer has them; breaks beside them, and beside each other."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.TaskGroup() as group:
        for act in schedule:
            await asyncio.sleep(max(0.0, begun + act.at - loop.time()))
            say(str(act))
            if isinstance(act.what, Wish):
                await people.do(act.what, act.whom)
            else:
                group.create_task(breaking.do(act))


async def _mended(here: Town, *, calm: bool) -> None:
    """Everything is there again. A new leader asks GitHub at once for what it could not bring."""
    here.github.faults.clear()
    for clock in here.clocks.values():
        clock.off(0)
    for relay in (*here.stores, *here.queues):
        relay.release()
        await relay.open()
    if calm:
        return
    for bot in here.bots:
        await bot.kill()
    for bot in here.bots:
        await bot.start()
    with contextlib.suppress(AssertionError):
        await here.fleet.ready()
