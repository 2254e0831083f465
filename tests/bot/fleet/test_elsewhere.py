"""A job that only one worker can do is handed to it, instead of meeting it in the queue by luck."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bot.fleet import roster
from bot.store.database import Store
from bot.store.tables import JobState, ReleaseState, WorkerRow
from tests.bot.conftest import Rows
from tests.bot.talk import Talk, talking
from tests.github import GitHub
from workers.contract.messages import Claim, Kind, Order, Refusal, Take, now
from workers.contract.seal import Keys


async def heard(store: Store, name: str, *, running: int = 0) -> None:
    async with store.transaction() as session:
        session.add(
            WorkerRow(
                name=name,
                instance="i",
                pool="default",
                slots=1,
                address="127.0.0.1",
                software="x",
                running=running,
            )
        )


@pytest.mark.parametrize(("running", "free"), [(0, ("right",)), (1, ())])
async def test_a_stop_is_for_the_worker_that_has_what_it_stops(
    store: Store, rows: Rows, running: int, free: tuple[str, ...]
) -> None:
    deploy = await rows.job(await rows.run(), 1, Kind.DEPLOY, "pr-1", state=JobState.SUCCEEDED)
    await rows.release(deploy, state=ReleaseState.LIVE, worker="right", live_at=now())
    stop = await rows.job(await rows.run(), 2, Kind.STOP, "pr-1", state=JobState.QUEUED)
    await heard(store, "right", running=running)
    await heard(store, "wrong")

    async with store.reading() as session:
        wrong = await roster.elsewhere(session, stop, "wrong", lease=30, local=False)
        right = await roster.elsewhere(session, stop, "right", lease=30, local=False)

    assert right is None
    assert wrong is not None
    assert wrong.free == free
    assert wrong.reason == "what it stops is at right"


@pytest.mark.parametrize(
    ("overlap", "silent", "bound"), [(False, False, True), (False, True, False), (True, False, False)]
)
async def test_what_must_end_before_its_successor_begins_binds_a_deploy_to_its_worker_while_that_is_there(
    store: Store, rows: Rows, overlap: bool, silent: bool, bound: bool
) -> None:
    before = await rows.job(await rows.run(), 1, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    await rows.release(before, state=ReleaseState.LIVE, worker="right", live_at=now())
    spec = {"processes": {"clock": {"overlap": overlap}}, "image_reference": "shop@sha256:2"}
    run = await rows.run()
    deploy = await rows.job(run, 2, Kind.DEPLOY, "production", state=JobState.QUEUED, spec=spec)
    await heard(store, "right")
    await heard(store, "wrong")

    async with store.reading() as session:
        lease = -1.0 if silent else 30
        wrong = await roster.elsewhere(session, deploy, "wrong", lease=lease, local=False)
        right = await roster.elsewhere(session, deploy, "right", lease=lease, local=False)

    assert right is None
    assert (wrong.reason if wrong else None) == (
        "what has to end before its successor is at right" if bound else None
    )


async def test_the_right_worker_is_told_to_claim_what_the_wrong_one_was_offered(
    tmp_path: Path, github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def bound(*_: object) -> tuple[set[str], str]:
        return {"right"}, "what it stops is"

    async with talking(tmp_path, github) as talk:
        await talk.push({"a": "0"})
        await talk.until_run("push")
        job = (await talk.jobs((await talk.runs())[-1]))[0]

        async def offered() -> bool:
            return (await talk.jobs((await talk.runs())[-1]))[0].offered_at is not None

        await talk._until(offered)
        await heard(talk.store, "right")
        monkeypatch.setattr(roster, "_bound", bound)
        hearing = asyncio.create_task(_first_order(talk, "right"))
        await asyncio.sleep(0)
        claim = Claim(job=job.id, worker="wrong", instance="i", nonce="n", public_key=Keys().public)

        answer = await talk.queue.request(claim, 60)

        assert answer == Refusal(reason="what it stops is at right")
        assert await asyncio.wait_for(hearing, 60) == Take(job=job.id, pool="default")
        again = (await talk.jobs((await talk.runs())[-1]))[0]
        assert (again.state, again.offered_at is None) == (JobState.QUEUED, False)


async def _first_order(talk: Talk, worker: str) -> Order:
    async for order in talk.queue.orders(worker):
        return order
    raise AssertionError("orders never end")
