"""An attempt leaves no folder, whenever it is stopped."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from workers.attempt import Attempt
from workers.contract.messages import AttemptRef, Credentials, Event, StopSpec


async def test_an_attempt_that_is_stopped_while_its_folder_is_made_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a grant comes so late that its lease is over."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()
    made = Path.mkdir

    def slowly(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        begun.set()
        go_on.wait(60)
        made(self, mode, parents, exist_ok)
        done.set()

    async def tell(_: Event) -> None:
        """Nobody hears."""

    spec = StopSpec(instance="", repository="", environment="")
    folder = tmp_path / "work" / "1-1-1"
    attempt = Attempt(AttemptRef(job="1-1", attempt=1), spec, Credentials(), folder, tell)

    async def live() -> None:
        async with attempt.opened():
            await asyncio.sleep(60)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", slowly)
        living = asyncio.create_task(live())
        await asyncio.to_thread(begun.wait, 60)
        living.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(living, return_exceptions=True)
        await asyncio.to_thread(done.wait, 60)

    assert living.cancelled()
    assert not folder.exists()
