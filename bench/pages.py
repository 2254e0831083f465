"""`make bench ARGS=pages`: how soon a page is there and a line is seen, and what many who look on cost.

Three parts, each with an end of its own: pages with 10,000 runs in the store and a log of 200,000 lines,
answered over HTTP in the process of whoever asks, to their last byte, as the server's side of a first paint
(here); a line from where a build prints it to a browser (`bench.pages_seen`); 10,000 lines a second before 50
viewers (`bench.pages_crowd`). `.venv/bin/python -m bench.pages_seen` runs one part alone.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import structlog
from sqlalchemy import insert

from bench import pages_crowd, pages_seen
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import Environment, Job, JobState, Repository, Run
from config.settings import Settings
from tests.bot.web.pages.conftest import Scene, scene_of
from workers.contract.messages import Kind, now

RUNS, LINES, TRIES = 10_000, 200_000, 30
PAINT, LOG = 100.0, 200.0  # milliseconds: the goals of a page, and of a long log
LONGEST = 170.0  # seconds of one part: then it has failed
_MOST = 2_000  # rows in one statement
_LINE = "a line of a build that says very much, and has a \x1b[32mcolour\x1b[0m"


async def main() -> bool:
    """Print what each part measured; whether all ended, and met what they must."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    parts = {
        "Pages, server's side": painted,
        "A line, from a build to a browser": pages_seen.main,
        "Many who look on": pages_crowd.main,
    }
    well = True
    for name, measure in parts.items():
        print(f"{name}\n{'-' * len(name)}", flush=True)
        try:
            async with asyncio.timeout(LONGEST):
                well &= await measure()
        except TimeoutError:
            well = False
            print(f"did not end within {LONGEST:.0f} s: the machine is too busy, or something hangs")
        print(flush=True)
    return well


async def painted() -> bool:
    """Print milliseconds of each page; whether the medians are below their goals."""
    with tempfile.TemporaryDirectory(prefix="blacktree-bench-") as place:
        folder = Path(place)
        async with (
            Store.opened(f"sqlite:///{folder / 'blacktree.db'}") as store,
            scene_of(store, folder, Settings(data_dir=folder)) as scene,
        ):
            await _filled(store)
            await _logged(scene.logs)
            await scene.sign_in()
            paths = {
                "overview": ("/", PAINT),
                "repository": ("/repositories/acme/shop", PAINT),
                "run": (f"/runs/{RUNS}", PAINT),
                f"job, its log of {LINES:,} lines": (f"/jobs/{RUNS}-1", LOG),
                "that log without scripts": (f"/jobs/{RUNS}-1/lines?from={LINES // 2}", LOG),
            }
            return all(
                [_told(name, *await _asked(scene, path), goal) for name, (path, goal) in paths.items()]
            )


async def _asked(scene: Scene, path: str) -> tuple[list[float], list[float]]:
    """Milliseconds of each try but the first; and of processor time, the server's and its client's."""
    taken, worked = [], []
    for _ in range(TRIES + 1):
        begun, used = time.perf_counter(), time.process_time()
        answer = await scene.get(path)
        taken.append(1000 * (time.perf_counter() - begun))
        worked.append(1000 * (time.process_time() - used))
        answer.raise_for_status()
    return taken[1:], worked[1:]


async def _filled(store: Store) -> None:
    async with store.transaction() as session:
        session.add(Repository(id=1, full_name="acme/shop", default_branch="main"))
        session.add(Environment(repository_id=1, name="production"))
        await session.flush()
        connection = await session.connection()
        for first in range(1, RUNS + 1, _MOST):
            numbers = range(first, first + _MOST)
            await connection.execute(insert(Run), [_run(number).model_dump() for number in numbers])
            both = [job.model_dump() for number in numbers for job in _jobs(number)]
            await connection.execute(insert(Job), both)


def _run(number: int) -> Run:
    made = now() - timedelta(minutes=10 * (RUNS - number))
    return Run(
        id=number, repository_id=1, cause="push", cause_key=str(number), ref="refs/heads/main",
        sha=f"{number:040}", actor="ada", created_at=made,
    )  # fmt: skip


def _jobs(number: int) -> list[Job]:
    """A build and a deploy, one in ten of which failed; of the last run they go on."""
    made = now() - timedelta(minutes=10 * (RUNS - number))
    last = number == RUNS
    known: dict[str, Any] = {
        "run_id": number, "repository_id": 1, "sha": f"{number:040}", "context": "", "pool": "default",
        "attempts": 3, "attempt": 1, "started_at": made, "created_at": made, "worker": "oak-1",
        "ended_at": None if last else made + timedelta(minutes=1),
        "state": JobState.RUNNING if last else JobState.SUCCEEDED if number % 10 else JobState.FAILED,
    }  # fmt: skip
    return [
        *([Job(id=f"{number}-3", kind=Kind.BUILD, name="quiet", **known)] if last else []),
        Job(id=f"{number}-1", kind=Kind.BUILD, name="web", **known),
        Job(id=f"{number}-2", kind=Kind.DEPLOY, name="production", environment="production", **known),
    ]


async def _logged(logs: FileLogs) -> None:
    offset = 0
    for start in range(0, LINES, 2_000):
        text = "".join(f"{number} {_LINE}\n" for number in range(start, start + 2_000))
        await logs.append(f"{RUNS}-1", 1, offset, text)
        offset += len(text)


def _told(name: str, taken: list[float], worked: list[float], goal: float) -> bool:
    p50, p95, cpu = median(taken), quantiles(taken, n=20)[-1], median(worked)
    print(
        f"{name:<34} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms   processor {cpu:6.1f} ms   goal {goal:.0f} ms",
        flush=True,
    )
    return p50 < goal


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main()) else 1)
