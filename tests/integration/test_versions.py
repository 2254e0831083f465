"""A bot whose database was brought forward by a newer version, as whoever runs it sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.bot.store.stores import NEWEST, opened_by_a_newer_version
from tests.instance import Instance
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres


async def test_a_bot_ends_with_a_sentence_when_a_newer_version_takes_its_database_over(
    blacktree: Instance,
    clean_engine: Engine,  # noqa: ARG001
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    url = postgres.create_database("superseded")
    bot = await blacktree.start("up", database_url=url, proxy="none")
    await blacktree.ready()

    newer = await asyncio.to_thread(opened_by_a_newer_version, url, tmp_path)

    assert newer.returncode == 0, newer.stderr
    assert bot._child is not None
    assert await asyncio.wait_for(bot._child.wait(), 120) == 2
    assert "a newer Blacktree has taken it over: upgrade this one" in bot.said()
    assert "Traceback" not in bot.said()
    await bot.start()
    assert await asyncio.wait_for(bot._child.wait(), 120) == 2
    assert f"its tables are of a newer Blacktree (revision {NEWEST};" in bot.said()
