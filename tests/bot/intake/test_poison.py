"""What breaks us is tried again by itself, and blocks nothing else."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from gidgethub import sansio

from bot.decisions.decision import Decision
from bot.github.forge import GitHub
from bot.intake import processing
from bot.intake.processing import Processor
from bot.reports.reporter import Reporter
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Delivery, DeliveryState, Report, ReportKind, ReportState, Repository
from config.settings import Settings

REPOSITORY: dict[str, Any] = {"id": 7, "full_name": "acme/shop", "default_branch": "main", "private": True}


class _OddGitHub:
    """Breaks over one reaction, and takes any other."""

    def __init__(self) -> None:
        self.telling = self.checks = self

    async def react(self, _repository: Repository, comment_id: int, _content: str) -> None:
        if comment_id == 1:
            raise RuntimeError("a bug of ours")


async def test_a_delivery_that_breaks_us_is_postponed_and_the_next_is_processed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def decide(event: sansio.Event, _desk: Any) -> Decision:
        if event.delivery_id == "poison":
            raise RuntimeError("a bug of ours")
        return Decision("ignored: harmless")

    monkeypatch.setattr(processing, "decide", decide)
    async with store.transaction() as session:
        for guid in ("poison", "harmless"):
            payload = json.dumps({"repository": REPOSITORY})
            session.add(Delivery(guid=guid, event="push", repository_id=7, payload=payload))
    processor = Processor(store, cast(GitHub, _OddGitHub()), Settings())

    await processor._lane(list(await processor._due()))

    async with store.reading() as session:
        poison = await session.get_one(Delivery, "poison")
        harmless = await session.get_one(Delivery, "harmless")
    assert (poison.state, poison.attempts) == (DeliveryState.RECEIVED, 1)
    assert harmless.state is DeliveryState.PROCESSED


async def test_a_report_that_breaks_us_is_postponed_and_the_next_is_sent(store: Store) -> None:
    async with store.transaction() as session:
        session.add(Repository(**REPOSITORY))
        for comment in (1, 2):
            payload = {"comment_id": comment, "content": "eyes"}
            session.add(Report(repository_id=7, kind=ReportKind.REACTION, key=str(comment), payload=payload))

    await Reporter(store, cast(GitHub, _OddGitHub()), Settings(), cast(LogStore, None)).send_due()

    async with store.reading() as session:
        states = [(await session.get_one(Report, number)).state for number in (1, 2)]
    assert states == [ReportState.PENDING, ReportState.SENT]
