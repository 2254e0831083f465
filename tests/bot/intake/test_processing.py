"""Repositories are decided about side by side: none waits for another, and each keeps its own order."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest
from gidgethub import sansio

from bot.decisions.decision import Decision
from bot.github.forge import GitHub
from bot.intake import processing
from bot.intake.processing import Processor
from bot.store.arrivals import Arrival
from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState
from config.settings import Settings
from workers.contract.messages import now

SOON = 60.0  # seconds: less than the processor's poll


class Decisions:
    """What is decided, and who hangs in it until `go` is set."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.done: list[str] = []
        self.at_once: defaultdict[int, int] = defaultdict(int)
        self.most: defaultdict[int, int] = defaultdict(int)
        self.hangs: set[int] = set()
        self.go = asyncio.Event()

    async def decide(self, event: sansio.Event, _desk: Any) -> Decision:
        installation, repository = event.data["installation"]["id"], event.data["repository"]["id"]
        self.begun.append(event.delivery_id)
        self.at_once[installation] += 1
        self.most[installation] = max(self.most[installation], self.at_once[installation])
        if repository in self.hangs:
            await self.go.wait()
        self.at_once[installation] -= 1
        self.done.append(event.delivery_id)
        return Decision("ignored: harmless")

    async def until(self, *guids: str) -> None:
        async with asyncio.timeout(SOON):
            while not set(guids) <= set(self.done):  # noqa: ASYNC110 (nobody tells)
                await asyncio.sleep(0.01)


@pytest.fixture
def decisions(monkeypatch: pytest.MonkeyPatch) -> Decisions:
    made = Decisions()
    monkeypatch.setattr(processing, "decide", made.decide)
    monkeypatch.setattr(processing, "_POLL", timedelta(hours=1))
    return made


@asynccontextmanager
async def processing_in(store: Store) -> AsyncIterator[None]:
    work = asyncio.create_task(Processor(store, cast(GitHub, None), Settings()).run())
    try:
        yield
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def deliver(store: Store, guid: str, repository: int, installation: int = 1) -> None:
    about = {"id": repository, "full_name": f"acme/{repository}", "default_branch": "main"}
    payload = json.dumps({"repository": about, "installation": {"id": installation}})
    await store.keep(Arrival(guid, "push", None, repository, payload, now()))


async def test_a_delivery_is_decided_when_it_comes_and_waits_for_no_poll(
    store: Store, decisions: Decisions
) -> None:
    async with processing_in(store):
        for number in range(3):
            await deliver(store, f"guid-{number}", 7)
            await decisions.until(f"guid-{number}")


async def test_a_repository_that_hangs_delays_only_itself(store: Store, decisions: Decisions) -> None:
    decisions.hangs = {1}
    async with processing_in(store):
        await deliver(store, "hangs", 1)
        for number in range(5):
            await deliver(store, f"behind-{number}", 1)
            await deliver(store, f"beside-{number}", 2 + number % 2)
        await decisions.until(*(f"beside-{number}" for number in range(5)))
        await deliver(store, "later", 2)
        await decisions.until("later")
        assert decisions.begun.count("hangs") == 1
        assert not [guid for guid in decisions.begun if guid.startswith("behind")]

        decisions.go.set()
        await decisions.until("hangs", "behind-4")
    theirs = [guid for guid in decisions.done if guid.startswith("behind")]
    assert theirs == [f"behind-{number}" for number in range(5)]


async def test_so_many_repositories_of_one_installation_are_decided_about_at_once(
    store: Store, decisions: Decisions
) -> None:
    first, second = range(1, 31), range(31, 36)
    decisions.hangs = set(first)
    async with processing_in(store):
        for repository in first:
            await deliver(store, f"guid-{repository}", repository)
        for repository in second:
            await deliver(store, f"guid-{repository}", repository, installation=2)
        await decisions.until(*(f"guid-{repository}" for repository in second))
        async with asyncio.timeout(SOON):
            while decisions.at_once[1] < processing._AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        decisions.go.set()
        await decisions.until(*(f"guid-{repository}" for repository in first))
    assert decisions.most[1] == processing._AT_ONCE


async def test_what_was_left_by_another_process_is_decided_at_the_start(
    store: Store, decisions: Decisions
) -> None:
    async with store.transaction() as session:
        about = {"id": 7, "full_name": "acme/7"}
        payload = json.dumps({"repository": about, "installation": {"id": 1}})
        session.add(Delivery(guid="left", event="push", repository_id=7, payload=payload))
    async with processing_in(store):
        await decisions.until("left")
    async with store.reading() as session:
        assert (await session.get_one(Delivery, "left")).reason in ("", "ignored: harmless")


async def test_what_was_put_off_is_decided_when_its_time_comes(
    store: Store, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    async def decide(event: sansio.Event, desk: Any) -> Decision:
        tries.append(event.delivery_id)
        if len(tries) == 1:
            return Decision("waits", later=1)
        return await decisions.decide(event, desk)

    monkeypatch.setattr(processing, "decide", decide)
    async with processing_in(store):
        await deliver(store, "patient", 7)
        await decisions.until("patient")
        async with asyncio.timeout(SOON):
            while await _state(store, "patient") is DeliveryState.RECEIVED:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert tries == ["patient", "patient"]


async def _state(store: Store, guid: str) -> DeliveryState:
    async with store.reading() as session:
        return (await session.get_one(Delivery, guid)).state
