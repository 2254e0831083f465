"""A store that goes away in the middle of a start is waited for."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import ProgrammingError

from bot.web.opening import Stopped, there
from tests.bot.test_starting import AWAY, BUG


async def test_what_a_start_reads_is_read_again_when_the_store_is_back() -> None:
    answers: list[Exception | str] = [AWAY, AWAY, "known"]

    async def read() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await asyncio.wait_for(there(read, asyncio.Event()), 60) == "known"


async def test_who_is_told_to_stop_meanwhile_stops_at_once() -> None:
    stop = asyncio.Event()

    async def read() -> None:
        stop.set()
        raise AWAY

    with pytest.raises(Stopped):
        await asyncio.wait_for(there(read, stop), 60)


async def test_a_bug_is_not_waited_for() -> None:
    async def read() -> None:
        raise BUG

    with pytest.raises(ProgrammingError):
        await asyncio.wait_for(there(read, asyncio.Event()), 60)
