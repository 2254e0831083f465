"""A WebSocket, whose other end asks much and reads nothing."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState
from websockets.frames import Frame, Opcode

from bot.web.server import _FRAMES, Line


class Transport:
    aborted = False

    def abort(self) -> None:
        self.aborted = True


async def line() -> tuple[Line, Transport]:
    config = uvicorn.Config(lambda: None, ws=Line, log_config=None)
    config.load()
    there = Line(config, ServerState(), {}, asyncio.get_running_loop())
    transport = Transport()
    there.transport = cast(Any, transport)
    return there, transport


async def test_who_asks_whether_we_are_there_and_reads_no_answer_is_cut_off() -> None:
    there, transport = await line()
    there.pause_writing()  # as asyncio does when 64 KB wait to be read
    there.handle_ping()
    assert transport.aborted


async def test_a_message_that_never_ends_is_cut_off_although_it_never_grows() -> None:
    there, transport = await line()
    there.handle_text(Frame(Opcode.TEXT, b"", fin=False))
    for _ in range(_FRAMES):
        there.handle_cont(Frame(Opcode.CONT, b"", fin=False))
    assert transport.aborted
