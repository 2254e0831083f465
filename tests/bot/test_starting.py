"""A store that goes away ends no bot in the middle of its work."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError
from structlog.testing import capture_logs

from bot import main
from bot.store.database import Store
from bot.web.sessions import Sessions
from config.settings import Settings

AWAY = OperationalError("SELECT 1", None, psycopg.OperationalError("the connection is lost"))
BUG = ProgrammingError("SELECT x", None, psycopg.errors.UndefinedTable("no such table"))


@pytest.mark.parametrize("error", [AWAY, BUG])
async def test_a_part_that_breaks_in_a_task_group_is_started_again(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(main, "_PAUSE", 0.01)
    again = asyncio.Event()
    tries = 0

    async def breaks() -> None:
        await asyncio.sleep(0)
        raise error

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries > 2:
            again.set()
            await asyncio.sleep(60)
        async with asyncio.TaskGroup() as group:
            group.create_task(breaks())

    async with main._owned(main._steadily("work", work)):
        await asyncio.wait_for(again.wait(), 30)


async def test_a_part_that_breaks_while_it_is_ended_ends() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.sleep(60)
        finally:
            raise AWAY

    async with asyncio.timeout(30), main._owned(main._steadily("work", work)):
        await begun.wait()


@pytest.mark.parametrize(
    ("host", "printed"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)],  # noqa: S104
)
async def test_the_first_start_logs_a_link_only_where_this_machine_alone_reaches_the_bot(
    store: Store, host: str, printed: bool
) -> None:
    sessions = Sessions(store, "a token")
    with capture_logs() as logs:
        for _ in range(2):
            await main._greeted(sessions, Settings(host=host), "http://ci.example.com")

    [said] = [line["event"] for line in logs]
    assert "blacktree login-link" in said
    assert ("/sign-in?code=" in said) == printed
