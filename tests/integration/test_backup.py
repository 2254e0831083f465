"""A backup made in the middle of a build, restored on a fresh machine, goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from bot.store.restore import APART
from tests.instance import Instance, Process
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.integration.test_truths import BUILD, DEPLOY, _building, slow
from tests.parts.engine import Engine

SHOP = "io.blacktree.repository=acme/shop"
FILE = "environments: {production: {stability: 0, drain: 1, health: {interval: 0.2}}}\n"


@dataclass
class Scene:
    """An instance that serves a first commit and builds a second, and its backup of this moment."""

    developer: Developer
    instance: Instance
    engine: Engine
    up: Process
    url: str
    sha: str
    backup: Path

    async def lose_the_machine(self) -> None:
        """All but its engine, which has what serves."""
        await self.up.kill()
        folder = self.instance.folder / "up"
        os.kill(json.loads((folder / "caddy" / "process.json").read_text())["pid"], signal.SIGKILL)
        await asyncio.to_thread(shutil.rmtree, folder)

    async def restore(self) -> None:
        """A fresh machine, from the backup, started."""
        folder = self.instance.folder / "fresh"
        log = self.instance.folder / "fresh.log"
        fresh = Process("up", {**self.up.env, "BLACKTREE_DATA_DIR": str(folder)}, log)
        await fresh.run("restore", str(self.backup))
        self.instance.processes.append(fresh)
        await fresh.start()
        await self.instance.ready()

    async def serves_only(self, text: str) -> None:
        """What visitors get, from the one container that there is."""

        async def look() -> bool:
            found = await asyncio.to_thread(self.engine.containers, SHOP)
            return len(found) == 1 and (await visit(self.url)).strip() == text

        await self.instance.until(look, f"one container, which serves {text!r}")


@pytest.fixture
async def scene(developer: Developer, blacktree: Instance, clean_engine: Engine, tmp_path: Path) -> Scene:
    up = await blacktree.start("up")
    await blacktree.ready()
    first = await developer.push({".blacktree.yml": FILE, PAGE: "first"})
    url = (await developer.status(first, DEPLOY, "success")).removeprefix("Live at ")
    sha = await developer.push({"Dockerfile": dockerfile(slow()), PAGE: "second"})
    await _building(blacktree)
    backup = tmp_path / "backup.tar.gz"
    # Held still, so that what is seen has the build running; tests/bot/store has one that writes meanwhile.
    os.kill(up.pid, signal.SIGSTOP)
    await up.run("backup", str(backup), "--logs", "--with-key")
    os.kill(up.pid, signal.SIGCONT)
    return Scene(developer, blacktree, clean_engine, up, url, sha, backup)


async def test_what_was_running_goes_on_and_what_served_serves_on(scene: Scene) -> None:
    await scene.lose_the_machine()

    await scene.restore()

    await scene.serves_only("first")
    await scene.developer.status(scene.sha, DEPLOY, "success")
    await scene.developer.status(scene.sha, BUILD, "success")
    await scene.serves_only("second")
    jobs = await scene.instance.jobs()
    assert [(job["kind"], job["state"]) for job in jobs] == [
        ("build", "succeeded"),
        ("deploy", "succeeded"),
    ] * 2
    assert [job["attempt"] for job in jobs] == [1, 1, 2, jobs[-1]["attempt"]]
    assert "COPY www" in await scene.instance.text(f"/jobs/{jobs[0]['id']}/log"), "its log came along"


async def test_what_happened_after_the_backup_is_found_again_and_never_taken_for_something_else(
    scene: Scene,
) -> None:
    await scene.developer.status(scene.sha, DEPLOY, "success")
    third = await scene.developer.push({"Dockerfile": dockerfile(), PAGE: "third"})
    await scene.developer.status(third, DEPLOY, "success")
    await scene.serves_only("third")
    await scene.lose_the_machine()
    before = len(scene.developer.github.statuses(scene.developer.repository, third))
    scene.developer.repository.pushed_at -= timedelta(minutes=1)  # it took that long

    await scene.restore()

    def told_again() -> bool:
        return len(scene.developer.github.statuses(scene.developer.repository, third)) > before

    await scene.developer.github.until(told_again, timeout=120)
    await scene.developer.status(third, DEPLOY, "success")
    await scene.serves_only("third")
    runs = await scene.instance.api("/runs")
    assert runs[0]["sha"] == third
    assert runs[0]["id"] > APART
    await scene.instance.until(lambda: _ended(scene), "every job to have ended")

    def told() -> bool:
        states = {scene.developer.state(sha, what) for sha in (scene.sha, third) for what in (BUILD, DEPLOY)}
        return "pending" not in states

    await scene.developer.github.until(told, timeout=120)


async def _ended(scene: Scene) -> bool:
    return all(job["state"] in ("succeeded", "failed", "cancelled") for job in await scene.instance.jobs())
