"""Two bots that do the same at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlmodel import select

from bot.fleet.heartbeats import Heartbeats
from bot.store.database import Store
from bot.store.tables import ContainerRow, Release, WorkerRow
from bot.web.sessions import Sessions
from config.settings import Settings
from tests.bot.fleet.test_heartbeats import beat, container, release  # noqa: F401

_BOTS = 4


@pytest.fixture
async def stores(store: Store, store_url: str) -> AsyncIterator[list[Store]]:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(Store.opened(store_url)) for _ in range(_BOTS - 1)]
        yield [store, *others]


async def test_heartbeats_of_one_worker_are_noted_one_after_the_other(
    stores: list[Store],
    release: Release,  # noqa: F811
    tmp_path: Path,
) -> None:
    bots = [Heartbeats(store, Settings(data_dir=tmp_path)) for store in stores]
    for number in range(3):  # the first is also the first that anybody hears of the worker
        told = [container(stores[0], release, name=f"web-{number}-{one}") for one in range(20)]

        await asyncio.gather(*(bot.answer(beat(containers=told)) for bot in bots))

        async with stores[0].reading() as session:
            assert len((await session.exec(select(WorkerRow))).all()) == 1
            kept = (await session.exec(select(ContainerRow.name))).all()
        assert {one.name for one in told} <= set(kept)


async def test_one_of_the_bots_that_start_first_is_the_first(stores: list[Store]) -> None:
    first = await asyncio.gather(*(Sessions(store, "token").first() for store in stores))

    assert sorted(first) == [False] * (_BOTS - 1) + [True]
