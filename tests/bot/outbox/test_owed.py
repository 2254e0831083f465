"""Of very much that is owed: one message, no row that stays for ever, and nobody waits for a stranger."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlmodel import col, func, select

from bot.outbox.grouping import batch
from bot.outbox.owed import TOO_OLD, Owed
from bot.outbox.sending import Outbox
from bot.reports.lanes import Lane
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Outgoing, OutgoingState
from config.settings import Settings
from workers.contract.messages import now

OPS = "channel:0:ops"


async def owe(store: Store, many: int, lane: str = OPS, age: timedelta = timedelta(0), why: str = "") -> None:
    async with store.transaction() as session:
        for number in range(many):
            at = now() - age
            row = Outgoing(lane=lane, event="crash", thing=str(number), body="{}", created_at=at, due_at=at)
            row.reason = why if number else ""
            session.add(row)


async def test_five_hundred_things_that_go_wrong_at_once_are_one_message(store: Store) -> None:
    await owe(store, 500)
    found = batch(await Owed(store).of(OPS, due=False), None, now())

    assert len(found.sent) == 500


async def test_all_that_is_too_old_is_given_up_at_once_however_much_it_is(store: Store) -> None:
    await owe(store, 2500, "webhook:1", TOO_OLD + timedelta(minutes=1), "answered 500")
    await owe(store, 2, "webhook:1")
    left = await Owed(store).of("webhook:1", due=True)

    assert len(left) == 2
    over = select(func.count()).where(
        Outgoing.state == OutgoingState.GIVEN_UP, Outgoing.reason == "answered 500"
    )
    async with store.reading() as session:
        assert (await session.exec(over)).one() == 2500


async def test_what_is_tried_again_waits_by_how_often_it_was_tried(store: Store) -> None:
    await owe(store, 3)
    owed = Owed(store)
    await owed.postpone((await owed.of(OPS, due=False))[:1], "away")
    await owed.postpone(await owed.of(OPS, due=False), "away")

    async with store.reading() as session:
        rows = (await session.exec(select(Outgoing).order_by(col(Outgoing.id)))).all()
    assert [row.attempts for row in rows] == [2, 1, 1]
    assert rows[0].due_at > rows[1].due_at + timedelta(seconds=5)


async def test_a_repositorys_many_channels_that_answer_nothing_hold_up_no_others(
    store: Store, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, secret_key="k")
    outbox = Outbox(store, Secrets(store, Vault(store, settings)), settings)
    brought: set[str] = set()
    both = asyncio.Event()

    async def bring(lane: Lane) -> bool:
        brought.add(str(lane))
        if {OPS, "channel:8:team"} <= brought:
            both.set()
        if lane.repository_id == 7:
            await asyncio.Event().wait()
        return True

    lanes = [f"channel:7:c{number}" for number in range(20)] + ["channel:8:team", OPS]
    working = [asyncio.create_task(outbox._work(lane, bring)) for lane in lanes]
    try:
        await asyncio.wait_for(both.wait(), 30)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    assert len(brought) == 3
