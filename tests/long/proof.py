"""One build that says a line a minute, what is seen of it meanwhile, and a push after it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.instance import Instance, Process
from tests.integration.conftest import PAGE, Developer
from tests.integration.conftest import dockerfile as app
from tests.parts.broker import Broker
from tests.parts.engine import Engine

_BUILD = "blacktree/build"
_DEPLOY = "blacktree/deploy (production)"
LIMIT = 600  # seconds for what is short, on a machine that has other things to do
_LOOK = 5.0  # seconds between two looks at what runs
# Milliseconds that RabbitMQ 3.8.17 and later gives a consumer: https://www.rabbitmq.com/docs/consumers
_CONSUMER_TIMEOUT = 1_800_000
_NEVER_SAID = ("Traceback", "lease lost")
_OVER = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Scene:
    """What is driven and looked at."""

    developer: Developer
    blacktree: Instance
    worker: Process
    broker: Broker
    engine: Engine


def dockerfile(minutes: int) -> str:
    """An app whose build lasts so long; `minute 1 of …` is said when the first begins."""
    if not minutes:
        return app()
    return app(f'RUN for one in $(seq {minutes}); do echo "minute $one of {minutes}"; sleep 60; done')


def environment(minutes: int) -> str:
    """A build may last for longer than by default."""
    image = f"{{timeout: {minutes * 60 + 1200}}}"
    return f"images:\n  app: {image}\nenvironments:\n  production: {{stability: 0, drain: 1, grace: 1}}\n"


async def proven(scene: Scene, files: dict[str, str | None], minutes: int) -> list[str]:
    """Sentences about what is wrong; none where all is as it should be."""
    timeout = await asyncio.to_thread(
        scene.broker.control, "eval", "application:get_env(rabbit, consumer_timeout)."
    )
    wrong = (
        [] if str(_CONSUMER_TIMEOUT) in timeout else [f"the broker's consumer_timeout is {timeout.strip()}"]
    )
    wrong += await _lived(scene, await scene.developer.push(files), minutes)
    again = {"Dockerfile": dockerfile(0), PAGE: "short"}
    wrong += await _lived(scene, await scene.developer.push({**again}), 0)
    return wrong + await _left(scene)


async def _lived(scene: Scene, sha: str, minutes: int) -> list[str]:
    """A push from its first status to its last, with a build of so many minutes."""
    build = await scene.blacktree.until(_first(scene, sha), "the build to begin", LIMIT)
    gaps = await _watched(scene, build["id"], minutes)
    await scene.blacktree.until(_all_over(scene, sha), "the push to be over", LIMIT)
    wrong = [f"minute by minute, {gap}" for gap in gaps[:5]]
    for context in (_BUILD, _DEPLOY):
        await scene.blacktree.until(_told(scene, sha, context), f"the end of {context} to be told", LIMIT)
        if (state := scene.developer.state(sha, context)) != "success":
            wrong.append(f"{sha[:7]} {context} is {state}")
    for job in await _jobs(scene, sha):
        whole = await _asked(scene, f"/jobs/{job['id']}")
        if (whole["state"], whole["attempt"], len(whole["history"])) != ("succeeded", 1, 1):
            wrong.append(f"{whole['kind']} is {whole['state']} by attempt {whole['attempt']}")
    said = (await _log(scene, build["id"])).splitlines()
    lines = {f"minute {one + 1} of {minutes}": 0 for one in range(minutes)}
    for line in lines:
        lines[line] = sum(one.endswith(line) for one in said)
    return wrong + [f"the log has {line!r} {times} times" for line, times in lines.items() if times != 1]


def _first(scene: Scene, sha: str) -> Callable[[], Awaitable[dict[str, Any] | None]]:
    async def look() -> dict[str, Any] | None:
        jobs = await _jobs(scene, sha)
        return next((one for one in jobs if one["kind"] == "build" and one["state"] != "queued"), None)

    return look


def _told(scene: Scene, sha: str, context: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return scene.developer.state(sha, context) not in (None, "pending")

    return look


def _all_over(scene: Scene, sha: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        jobs = await _jobs(scene, sha)
        return {"build", "deploy"} <= {one["kind"] for one in jobs} and all(
            one["state"] in _OVER for one in jobs
        )

    return look


async def _watched(scene: Scene, build: str, minutes: int) -> list[str]:
    """What was not right while it ran: the worker keeps its lease, the log grows."""
    loop, gaps, told = asyncio.get_running_loop(), list[str](), 0
    begun = loop.time()
    while (at := loop.time() - begun) < minutes * 60 + LIMIT:
        job = await _asked(scene, f"/jobs/{build}")
        if job["state"] in _OVER:
            print(f"the build {job['state']} after {at / 60:.1f} minutes", file=sys.stderr, flush=True)
            return gaps
        if job["attempt"] > 1:
            gaps.append(f"after {at:.0f} s it was attempt {job['attempt']}")
        lines = (await _log(scene, build)).count(f" of {minutes}")
        if lines > told:
            print(f"minute {lines - 1} of {minutes}: {job['state']}", file=sys.stderr, flush=True)
        told = lines
        await asyncio.sleep(_LOOK)
    return [*gaps, f"it did not end within {minutes * 60 + LIMIT} s"]


async def _asked(scene: Scene, path: str) -> Any:
    """What the API answers, which a machine with other things to do may delay."""
    return await scene.blacktree.until(lambda: scene.blacktree.api(path), path, LIMIT)


async def _log(scene: Scene, job: str) -> str:
    path = f"/jobs/{job}/log"
    return await scene.blacktree.until(lambda: scene.blacktree.text(path), path, LIMIT)


async def _jobs(scene: Scene, sha: str) -> list[dict[str, Any]]:
    jobs = await scene.blacktree.until(scene.blacktree.jobs, "the jobs to be told", LIMIT)
    return [job for job in jobs if job["sha"] == sha]


async def _left(scene: Scene) -> list[str]:
    """Nothing but what serves; nothing in the queues; nothing that broke."""
    await scene.blacktree.until(lambda: _one_container(scene), "the last release alone to be there", LIMIT)
    await scene.blacktree.until(lambda: _no_message(scene), "the queues to be empty", LIMIT)
    wrong = [f"a folder is left: {one}" for one in scene.blacktree.folder.glob("*/work/*")]
    for process in scene.blacktree.processes:
        said = process.said()
        wrong += [f"{process.log.name} says {words!r}" for words in _NEVER_SAID if words in said]
    lost = sum(process.said().count("queue lost") for process in scene.blacktree.processes)
    print(f"connections to the queue that were lost: {lost}", file=sys.stderr)
    if "timed out" in scene.broker.log.read_text():
        wrong.append(f"the broker gave up on somebody: {scene.broker.tail(5)}")
    return wrong


async def _one_container(scene: Scene) -> bool:
    there = await asyncio.to_thread(scene.engine.client.containers.list, all=True, ignore_removed=True)
    return len(there) == 1


async def _no_message(scene: Scene) -> bool:
    """At some moment: a worker's heartbeat is on its way every few seconds."""
    queues = await asyncio.to_thread(scene.broker.list_queues)
    return not any(one.ready or one.unacknowledged for one in queues)
