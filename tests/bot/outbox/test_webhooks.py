"""Webhooks of ours, over real HTTP: signed, in order, tried again, given up, and never lost."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import select

from bot.jobs import lifecycle
from bot.outbox import owed, to_webhooks
from bot.store.tables import AuditRow, Happening, Job, JobState, Outgoing, Trouble, Webhook
from bot.web.api.models import listed
from tests.bot.conftest import REPOSITORY
from tests.bot.outbox.conftest import House
from tests.bot.outbox.receiver import Got, until
from workers.contract.messages import Fault, Kind, now


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not taken is tried again at once."""
    monkeypatch.setattr(owed, "_SOON", 0.01)


async def deploys(house: House, to: JobState = JobState.FAILED) -> Job:
    """A deploy that ends."""
    job = await house.rows.job(
        await house.rows.run(), kind=Kind.DEPLOY, name="production", state=JobState.RUNNING, attempt=1
    )
    return await ends(house, job, to)


async def ends(house: House, job: Job, to: JobState) -> Job:
    told = {"fault": Fault.USER, "sentence": "it broke", "failed_step": "check"}
    async with house.store.transaction() as session:
        assert await lifecycle.move(session, await session.get_one(Job, job.id), to, **told)
    return await house.rows.again(job)


def signed(got: Got, secret: str) -> bool:
    mine = hmac.new(secret.encode(), got.body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(got.headers["x-hub-signature-256"], f"sha256={mine}")


async def test_what_happens_is_told_as_the_stream_of_events_tells_it_and_signed(house: House) -> None:
    secret = await house.webhook()
    async with house.sending():
        job = await deploys(house)
        moved, failed = await house.receiver.has(2)

    assert moved.json == listed(job, "acme/shop").model_dump(mode="json")
    assert (moved.path, moved.headers["x-blacktree-event"]) == ("/hook?x=1", "job")
    assert failed.headers["x-blacktree-event"] == "deploy.failed"
    assert failed.json["problem"] == "check: it broke"
    assert failed.json["link"] == f"https://bot.test/jobs/{job.id}"
    assert signed(moved, secret)
    assert signed(failed, secret)
    assert int(moved.headers["x-blacktree-number"]) < int(failed.headers["x-blacktree-number"])
    assert abs(int(moved.headers["x-blacktree-timestamp"]) - now().timestamp()) < 60
    assert "nonce" not in moved.json
    assert secret.encode() not in (house.folder / "blacktree.db").read_bytes()


async def test_without_a_webhook_a_move_leaves_nothing_behind(house: House) -> None:
    run = await house.rows.run()
    await ends(house, await house.rows.job(run, state=JobState.RUNNING, attempt=1), JobState.SUCCEEDED)

    async with house.store.reading() as session:
        assert (await session.exec(select(Happening))).all() == []


@pytest.mark.usefixtures("soon")
async def test_what_was_not_taken_comes_again_with_its_guid_until_it_is(house: House) -> None:
    await house.webhook(events=("deploy.failed",))
    house.receiver.statuses = [500, 302]
    async with house.sending():
        await deploys(house)
        got = await house.receiver.has(3)
        [one] = await until(lambda: house.outgoing("sent"))

    assert {request.headers["x-blacktree-delivery"] for request in got} == {one.guid}
    assert (one.attempts, one.status) == (3, 200)
    assert (await house.hook()).failing_since is None


async def test_a_bot_that_is_killed_before_it_wrote_down_that_it_was_taken_tells_it_once_more(
    house: House,
) -> None:
    await house.webhook(events=("deploy.failed",))
    house.receiver.silent = True
    async with house.sending():
        await deploys(house)
        await house.receiver.has(1)
    house.receiver.silent = False
    async with house.sending():
        [first, second] = await house.receiver.has(2)
        await until(lambda: house.outgoing("sent"))

    assert first.headers["x-blacktree-delivery"] == second.headers["x-blacktree-delivery"]
    assert first.body == second.body


async def test_a_receiver_that_says_nothing_holds_up_nobody_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.outbox.posting.TIMEOUT", 300.0)  # it is not asked once more meanwhile
    await house.webhook(events=("deploy.failed",))
    house.receiver.silent = True
    async with house.sending(notify="ops: json://127.0.0.1:9"):
        await deploys(house)
        await house.receiver.has(1)
        house.receiver.silent = False
        await house.webhook(events=("job",))
        await deploys(house, JobState.SUCCEEDED)
        got = await house.receiver.has(2)

    assert got[1].headers["x-blacktree-event"] == "job"


@pytest.mark.usefixtures("soon")
async def test_one_that_took_nothing_for_days_is_disabled_and_told_of(house: House) -> None:
    await house.webhook(REPOSITORY)
    row = await house.hook()
    long_ago = now() - to_webhooks.DISABLED_AFTER - timedelta(hours=1)
    async with house.store.transaction() as session:
        await session.exec(update(Webhook).values(failing_since=long_ago))
    async with house.sending(notify_reachable="127.0.0.1"):
        house.receiver.statuses = [500] * 50
        await deploys(house)

        async def disabled() -> str:
            return (await house.hook()).disabled

        assert "answered 500" in await until(disabled)
        lost = await until(lambda: house.outgoing("given up"))
    async with house.store.reading() as session:
        [audit] = (await session.exec(select(AuditRow))).all()
        troubles = (await session.exec(select(Trouble.thing))).all()

    assert (audit.who, audit.repository_id) == ("Blacktree", REPOSITORY)
    assert f"disabled webhook {row.id}" in audit.what
    assert lost
    assert f"webhook::{row.id}" in troubles


async def test_what_is_a_day_old_is_given_up(house: House) -> None:
    await house.webhook(events=("deploy.failed",))
    async with house.store.transaction() as session:
        old = now() - owed.TOO_OLD - timedelta(minutes=1)
        session.add(
            Outgoing(lane="webhook:1", event="deploy.failed", body="{}", created_at=old, reason="away")
        )
    async with house.sending():
        [one] = await until(lambda: house.outgoing("given up"))

    assert one.reason == "away"
    assert house.receiver.got == []


@pytest.mark.parametrize(("reachable", "state"), [("", "given up"), ("127.0.0.1", "sent")])
async def test_a_repositorys_webhook_reaches_nothing_private_but_what_the_instance_allows(
    house: House, reachable: str, state: str
) -> None:
    await house.rows.run()
    await house.webhook(REPOSITORY)
    async with house.store.transaction() as session:
        session.add(Outgoing(lane="webhook:1", event="ping", body="{}"))
    async with house.sending(notify_reachable=reachable):
        [one] = await until(lambda: house.outgoing(state))

    assert len(house.receiver.got) == (state == "sent")
    assert ("NOTIFY_REACHABLE" in one.reason) == (state != "sent")


async def test_a_happening_that_nobody_can_read_holds_up_no_other(house: House) -> None:
    await house.webhook(events=("deploy.failed",))
    await house.rows.run()
    async with house.store.transaction() as session:
        for kind, about in (
            ("job", {"of": "another version"}),
            ("turn", {"kind": "something new", "environment": "x", "problem": "it is new"}),
            ("something new", {}),
        ):
            session.add(Happening(repository_id=REPOSITORY, kind=kind, about=about))
    async with house.sending():
        await deploys(house)
        await house.receiver.has(1)
        async with house.store.reading() as session:
            assert (await session.exec(select(Happening))).all() == []


async def test_a_new_key_opens_what_an_older_one_sealed_and_seals_it_anew(house: House) -> None:
    secret = await house.webhook()
    sealed = (await house.hook()).sealed
    both, only = (house.settings(secret_key=key) for key in ("new,k", "new"))
    await house.secrets(both).reseal()
    row = await house.hook()

    assert row.sealed != sealed
    assert (await house.secrets(only).webhooks.open(row)).secret == secret
