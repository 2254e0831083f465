"""PostgreSQL's own failover, as a bot sees it: its connections drop, and then lead to what only reads."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.instance import Instance, Process
from tests.integration.conftest import PAGE, Developer
from tests.integration.test_truths import DEPLOY
from tests.parts.postgres import Postgres


async def test_a_database_that_only_reads_is_survived_and_told(
    developer: Developer, blacktree: Instance, postgres: Postgres
) -> None:
    url = postgres.create_database("demoted")
    up = await blacktree.start("up", database_url=url, proxy="none")
    await blacktree.until(partial(_says, up, "leading"), "the bot to lead")

    await asyncio.to_thread(postgres.reads_only, "demoted")

    # It has lost what it leads by, or, where it had only just begun, could not begin what a leader does.
    await blacktree.until(
        partial(_says, up, "not leading any more", "part=leading"), "the bot to lead no more"
    )
    assert not await blacktree._is_ready()
    await developer.push({PAGE: "while it only reads"})
    await blacktree.until(partial(_says, up, "read-only transaction"), "the bot to say why it keeps nothing")
    runs = await blacktree.api("/runs")

    await asyncio.to_thread(postgres.writes_again, "demoted")

    await blacktree.ready()
    sha = await developer.push({PAGE: "after"})
    await developer.status(sha, DEPLOY, "success")
    assert runs == []
    assert "Traceback" not in up.said()


async def _says(process: Process, *either: str) -> bool:
    return any(words in process.said() for words in either)
