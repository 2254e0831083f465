from __future__ import annotations

import asyncio
import threading

import pytest

from workers.process.threads import to_the_end


@pytest.mark.parametrize("error", [None, OSError("full")])
async def test_whoever_is_cancelled_again_and_again_still_waits_for_the_thread(error: OSError | None) -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(60)
        ended.set()
        if error:
            raise error

    waiting = asyncio.create_task(to_the_end(work))
    await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
    assert not waiting.done()
    go_on.set()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert ended.is_set()


async def test_what_the_thread_returns_or_raises_is_handed_on() -> None:
    assert await to_the_end(int, "7") == 7
    with pytest.raises(ValueError, match="x"):
        await to_the_end(int, "x")
