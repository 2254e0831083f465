"""How fast others take over from whoever is killed or cut off: the medians of five.

    make bench ARGS=failover

Two bots behind Caddy as docs/operations.md has it, two workers, RabbitMQ, PostgreSQL, a registry. Times are
those from outside: from the signal until the API or the log shows that another one goes on.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

from tests.failover import LEASE, failover
from tests.github import GitHub
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry

ROUNDS = 5


async def main() -> bool:
    """Print the figures; whether all goals are met."""
    folder, answers = Path(tempfile.mkdtemp(prefix="blacktree-bench-")), Counter[int]()
    try:
        with ExitStack() as stack:
            engine, broker = stack.enter_context(Engine()), stack.enter_context(Broker())
            registry, postgres = stack.enter_context(Registry()), stack.enter_context(Postgres())
            engine.base_image()
            stack.callback(engine.remove, "io.blacktree.repository=acme/shop")
            async with (
                GitHub.running(folder / "github") as github,
                failover(folder, github, broker, registry, postgres, "failover") as here,
            ):
                well = [
                    await _told("a bot killed: another leads", 3, lambda: here.bot_killed(answers)),
                    await _told("a worker killed: its job starts again", 3, here.worker_killed),
                    await _told("a worker cut off: its job starts again", LEASE + 5, here.worker_cut_off),
                ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    refused = answers.total() - answers[202]
    print(f"webhooks while bots were killed: {answers.total()}, not taken: {refused} ({dict(answers)})")
    return all(well) and not refused


async def _told(figure: str, goal: float, once: Callable[[], Awaitable[float]]) -> bool:
    seconds = [await once() for _ in range(ROUNDS)]
    median = statistics.median(seconds)
    several = " ".join(f"{one:.2f}" for one in sorted(seconds))
    print(f"{figure:<42} {median:6.2f} s   goal {goal:g} s   ({several})", flush=True)
    return median <= goal


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
