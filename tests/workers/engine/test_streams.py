"""What an engine streams, where nobody is there any more who wanted it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from docker.api import APIClient

from tests.parts.engine import Engine
from tests.workers.conftest import MADE
from workers.engine.docker import DockerEngine


async def test_one_that_opens_when_nobody_waits_for_it_any_more_is_closed(
    engine: Engine, docker_engine: DockerEngine, base: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = engine.client.containers.run(
        base, ["sleep", "600"], detach=True, labels={MADE: name}, init=True
    )
    streams: list[Any] = []
    there, left = threading.Event(), threading.Event()
    logs = APIClient.logs

    def late(client: APIClient, *arguments: Any, **options: Any) -> Any:
        streams.append(logs(client, *arguments, **options))
        there.set()
        left.wait(120)
        return streams[0]

    async def follow() -> None:
        async with docker_engine.following(str(container.id), lambda _: None):
            raise AssertionError("it was left before")

    monkeypatch.setattr(APIClient, "logs", late)
    following = asyncio.create_task(follow())
    assert await asyncio.to_thread(there.wait, 60)
    following.cancel()
    assert (await asyncio.gather(following, return_exceptions=True))[0].__class__ is asyncio.CancelledError
    assert not streams[0]._response.raw.closed

    left.set()

    async with asyncio.timeout(60):
        while not streams[0]._response.raw.closed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
