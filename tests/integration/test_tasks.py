"""Tasks from outside: begun by a comment, by the API and by the clock; killed, and never begun twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from config.trust import trusted
from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer
from tests.parts.engine import Engine

FILE = """
environments:
  production:
    stability: 0
    volumes: {data: /data}
    env: {COLOUR: green}
    tasks:
      once: [sh, -c, "echo $COLOUR >> /data/began; cat /data/began; sleep 600"]
      again: {command: [sh, -c, "echo again >> /data/again; wc -l < /data/again; sleep 600"], retry: true}
"""


async def begun(fleet: Instance, place: int, task: str) -> str:
    """The job of a task that the API began."""
    async with httpx2.AsyncClient(verify=trusted(), headers=fleet.headers, timeout=60) as http:
        path = f"/api/v1/environments/{place}/tasks/{task}/runs"
        answer = await http.post(fleet.url + path, json={"actor": "ada"})
    assert answer.status_code == 202, answer.text
    return f"{answer.json()['run']}-1"


async def job(fleet: Instance, id_: str, state: str) -> dict[str, Any]:
    """Wait for a job in this state."""

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] = await fleet.api(f"/jobs/{id_}")
        return found if found["state"] == state else None

    return await fleet.until(look, f"job {id_} to be {state}")


def of_tasks(engine: Engine) -> list[str]:
    found = engine.containers("io.blacktree.repository=acme/shop")
    return [str(one.name) for one in found if "-task-" in str(one.name)]


async def test_a_task_that_was_killed_is_begun_again_only_where_it_may_and_nothing_of_it_is_left(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    """kill -9 of bot and worker at once, which are one process here."""
    settings: dict[str, Any] = {"worker_slots": "2", "shutdown": "1", "lease": "12"}
    up = await blacktree.start("up", **settings)
    await blacktree.ready()
    sha = await developer.push({".blacktree.yml": FILE, PAGE: "pushed"})
    await developer.status(sha, "blacktree/deploy (production)", "success")
    [place] = await blacktree.api("/environments")
    once, again = [await begun(blacktree, place["id"], task) for task in ("once", "again")]

    async def both() -> bool:
        texts = [await blacktree.text(f"/jobs/{one}/log") for one in (once, again)]
        return "\ngreen\n" in texts[0] and "\n1\n" in texts[1]

    await blacktree.until(both, "both to print something")
    await up.kill()
    await blacktree.start("up", **settings)

    ended = await job(blacktree, once, "failed")
    assert (ended["reason"], ended["attempt"], ended["exit_code"]) == ("worker_lost", 1, None)
    assert "It may have begun, so it is not begun again" in ended["sentence"]

    async def second() -> bool:
        return "\n2\n" in await blacktree.text(f"/jobs/{again}/log")

    await blacktree.until(second, "the other one to begin again")

    async def alone() -> bool:
        return len(await asyncio.to_thread(of_tasks, clean_engine)) == 1

    await blacktree.until(alone, "what was begun before the kill to be gone")
    assert (await blacktree.text(f"/jobs/{once}/log?attempt=1")).count("green") == 1
