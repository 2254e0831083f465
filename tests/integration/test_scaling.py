"""Pools that grow with a burst and shrink after it, on the real shape: and nobody's job is ended by that."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.instance import Instance
from tests.integration.conftest import Developer, dockerfile
from tests.integration.test_truths import _fleet
from tests.parts.broker import Broker
from tests.parts.registry import Registry

JOBS = 10
POOL = "default: processes max=2 slots=2 wait=5 cooldown=5 boot=60"


@pytest.fixture
async def fleet(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> AsyncIterator[Instance]:
    """An instance whose pool is one of child processes; none of them stays."""
    async with _fleet(developer.github, tmp_path, broker, registry, pools=POOL, lease="30") as here:
        yield here
    for pid in alive(tmp_path):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def alive(folder: Path) -> list[int]:
    """The processes of workers that a bot started and that run."""
    noted: list[int] = []
    for file in folder.glob("serve/pools/default/*/alive"):
        with suppress(FileNotFoundError):  # it goes with its worker
            noted.append(int(file.read_text() or 0))
    return [pid for pid in noted if pid and _runs(pid)]


def seen_of_all(folder: Path) -> list[str]:
    """What the list of processes shows of them, their environments too."""
    return [
        Path(f"/proc/{pid}/{what}").read_text() for pid in alive(folder) for what in ("cmdline", "environ")
    ]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def burst(developer: Developer) -> None:
    """A pull request whose author wants ten builds; each takes a moment, and shares nothing."""
    images = {f"image-{number}": f"Dockerfile.{number}" for number in range(JOBS)}
    files: dict[str, str | None] = {
        file: dockerfile(f"RUN echo {uuid4().hex} && sleep 6") for file in images.values()
    }
    lines = [f"  {name}: {{dockerfile: {file}}}" for name, file in images.items()]
    await developer.push({".blacktree.yml": "\n".join(["images:", *lines, "environments: {}", ""])})
    number, head = await developer.open_pull(files)
    await developer.github.comment(developer.repository, number, developer.user, f"/build {head}")


async def pool(fleet: Instance) -> dict[str, Any]:
    (found,) = await fleet.api("/pools")
    return dict(found)


async def all_built(fleet: Instance) -> list[dict[str, Any]] | None:
    jobs = [job for job in await fleet.jobs() if job["kind"] == "build"]
    return jobs if len(jobs) == JOBS and all(job["state"] == "succeeded" for job in jobs) else None


async def empty(fleet: Instance) -> bool:
    """Whether nothing of the pool is left, for the bot and on the machine."""
    now = await pool(fleet)
    return not (now["started"] or now["workers"] or alive(fleet.folder))


async def test_a_burst_scales_from_zero_to_two_and_back_and_no_job_is_killed(
    developer: Developer, fleet: Instance
) -> None:
    await fleet.start("serve")
    await fleet.ready()
    await burst(developer)

    async def grown() -> dict[str, Any] | None:
        now = await pool(fleet)
        return now if now["workers"] == 2 else None

    at_most = await fleet.until(grown, "two workers")
    assert (at_most["wanted"], at_most["slots"], len(alive(fleet.folder))) == (2, 4, 2)
    assert "would be needed, 2 is the most" in at_most["why"]
    assert not any("blacktree-worker:" in text or "amqp://" in text for text in seen_of_all(fleet.folder))

    jobs = await fleet.until(lambda: all_built(fleet), "ten builds", limit=300)
    assert [job["attempt"] for job in jobs] == [1] * JOBS
    await fleet.until(lambda: empty(fleet), "nobody to be left")

    async def at_rest() -> bool:
        return bool((await pool(fleet))["why"] == "nothing waits or runs")

    await fleet.until(at_rest, "the pool to want nobody")
    assert "no worker was added yet" in await fleet.run("workers", "list")
    assert await fleet.api("/workers") == []


async def test_a_bot_killed_while_it_scales_loses_no_job_and_leaves_no_orphan(
    developer: Developer, fleet: Instance
) -> None:
    bot = await fleet.start("serve")
    await fleet.ready()
    await burst(developer)

    async def said(words: str, times: int = 1) -> bool:
        return bot.said().count(words) >= times

    await fleet.until(lambda: said("scaling"), "the bot to begin")
    await bot.kill()  # what is to be started is a row, and started or not
    await bot.start()
    await fleet.until(lambda: said("worker process started"), "a worker to be started")
    await bot.kill()  # before it was heard
    await asyncio.sleep(3)
    await bot.start()
    jobs = await fleet.until(lambda: all_built(fleet), "ten builds", limit=300)

    async def draining() -> bool:
        return any(worker["state"] in ("draining", "ending") for worker in (await pool(fleet))["started"])

    await fleet.until(draining, "somebody to drain")
    await bot.kill()
    await bot.start()

    await fleet.until(lambda: empty(fleet), "nobody to be left")
    assert [job["attempt"] for job in jobs] == [1] * JOBS
    assert "no worker was added yet" in await fleet.run("workers", "list")
