"""The pages of who is told beside GitHub: what they say, and what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlmodel import col, select

from bot.reports.lanes import PING, TEST, Lane
from bot.store.tables import AuditRow, Outgoing, OutgoingState, Repository, Webhook
from bot.web import outcomes
from bot.web.outcomes import OutgoingShown
from bot.web.pages.notifications import came_of
from tests.bot.talk import Talk
from tests.bot.web.pages import town
from tests.bot.web.pages.conftest import Scene
from tests.bot.web.pages.surroundings import Columns
from tests.bot.web.pages.test_acts import Browser, browser  # noqa: F401 (a fixture)
from tests.bot.web.pages.test_pages import told
from workers.contract.messages import now

FILE = "environments: {production: {branch: null}}"


async def owed(talk: Talk, lane: str) -> list[Outgoing]:
    async with talk.store.reading() as session:
        rows = select(Outgoing).where(Outgoing.lane == lane).order_by(col(Outgoing.id))
        return list((await session.exec(rows)).all())


async def whats(talk: Talk) -> list[str]:
    async with talk.store.reading() as session:
        return [row.what for row in (await session.exec(select(AuditRow).order_by(col(AuditRow.id)))).all()]


async def hooked(talk: Talk, disabled: str = "") -> tuple[str, Outgoing]:
    """A webhook of a repository that is known, by its page's path; and what it did not take."""
    async with talk.store.transaction() as session:
        owner = Repository(id=talk.repository.id, full_name="acme/shop", default_branch="main")
        owner.channels = {"team": {"secret": "TEAM_CHAT"}}
        session.add(owner)
        hook = Webhook(
            repository_id=owner.id,
            shown="https://in.example.com",
            sealed="",
            made_by="ada",
            disabled=disabled,
        )
        session.add(hook)
        await session.flush()
        row = Outgoing(lane=f"webhook:{hook.id}", event="release", body="{}", state=OutgoingState.GIVEN_UP)
        session.add(row)
    return f"/repositories/{talk.repository.full_name}/notifications/webhooks/{hook.id}", row


async def test_each_says_where_it_is_from_what_came_of_the_last_and_what_waits(scene: Scene) -> None:
    await town.made(scene.store, scene.logs)
    async with scene.store.transaction() as session:
        owner = (await session.exec(select(Repository).where(Repository.full_name == "acme/shop"))).one()
        owner.channels = {**(owner.channels or {}), "new": {"secret": "NEW_CHAT"}}
    await scene.sign_in()

    own = await told(scene, "/repositories/acme/shop/notifications")
    every = await told(scene, "/notifications")

    assert "team .blacktree.yml leads where the secret TEAM_CHAT says" in own
    assert "Last: crash, not taken" in own
    assert "ops BLACKTREE_NOTIFY" in own
    assert "Nothing was sent yet, since nothing happened that it is told of" in own
    assert "made by grace" in own
    assert "1 waits, the next try in 8 min" in own
    assert "https://in.example.com/hook acme/shop" in every
    assert "Repositories with channels of their own: acme/shop" in every
    for page in (own, every):
        assert "Takes nothing since 3 min ago : answered 503" in page
        assert "84 lines were left out so far" in page
    assert every.index("syslog+tls://logs.example.com:6514") < every.index("→ https://logs.example.com")


async def test_what_is_the_instances_is_no_repositorys_to_know(scene: Scene) -> None:
    await town.made(scene.store, scene.logs)
    async with scene.store.transaction() as session:
        row: Columns = {"state": OutgoingState.GIVEN_UP, "reason": "of another repository"}
        session.add(Outgoing(lane=str(Lane(channel="ops")), event="backup.failed", body="{}", **row))
    await scene.sign_in()

    own = await told(scene, "/repositories/acme/shop/notifications")

    assert "ops BLACKTREE_NOTIFY" in own
    assert "its administrators see what it was sent" in own
    for theirs in ("Last: backup.failed", "of another repository", "https://logs.example.com"):
        assert theirs not in own


async def test_what_was_not_taken_is_sent_again_with_its_guid_and_written_down(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    at, before = await hooked(talk)

    answer = await browser.send(f"{at}/deliveries/{before.id}/redeliver", form=f"Send {before.id} again")

    assert answer.status_code == 200, answer.text
    assert f"Send {before.id} again: it is on its way" in answer.text
    old, new = await owed(talk, before.lane)
    assert (old.state, new.state) == (OutgoingState.GIVEN_UP, OutgoingState.PENDING)
    assert (new.guid, new.body) == (old.guid, old.body)
    assert (await whats(talk))[-1] == f"sent {before.id} to webhook 1 again"


async def test_a_test_of_a_channel_or_a_webhook_is_owed_at_once_and_written_down(
    talk: Talk,
    browser: Browser,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outcomes, "_PATIENCE", 0.0)  # nobody sends anything here
    at, before = await hooked(talk)
    here = f"/repositories/{talk.repository.full_name}/notifications"
    assert "TEAM_CHAT" in await browser.page(here)

    ping = await browser.send(f"{at}/test", form="Test webhook 1")
    message = await browser.send(f"{here}/channels/team/test", form="Test team")

    assert "Test webhook 1: it is on its way" in ping.text
    assert "Test team: it is on its way" in message.text
    assert [one.event for one in await owed(talk, before.lane)] == ["release", PING]
    assert [one.event for one in await owed(talk, f"channel:{talk.repository.id}:team")] == [TEST]
    assert (await whats(talk))[-2:] == ["tested webhook 1", "tested the channel team"]


async def test_what_is_refused_is_told_at_its_own_form(talk: Talk, browser: Browser) -> None:  # noqa: F811
    at, before = await hooked(talk, disabled="it took nothing since noon")
    form = f"Send {before.id} again"

    answer = await browser.send(f"{at}/deliveries/{before.id}/redeliver", form=form)
    foreign = await browser.send("/notifications/webhooks/1/test", csrf="another")

    assert answer.status_code == 409
    assert f"{form} was not done: Webhook 1 is disabled" in answer.text
    assert "Disabled: it took nothing since noon" in answer.text
    assert not re.search(r"<button[^>]*>Send", answer.text), "what is disabled is not sent anything again"
    assert foreign.status_code == 403
    assert len(await owed(talk, before.lane)) == 1


@pytest.mark.parametrize(
    ("state", "status", "reason", "says"),
    [
        (OutgoingState.SENT, 204, "", "Test: it was taken, with 204"),
        (OutgoingState.SENT, None, "", "Test: it was taken"),
        (OutgoingState.GIVEN_UP, 500, "answered 500", "Test: answered 500"),
        (OutgoingState.PENDING, None, "", "Test: it is on its way, and this page will say what comes of it"),
    ],
)
def test_what_came_of_a_test_is_said_in_words(
    state: OutgoingState, status: int | None, reason: str, says: str
) -> None:
    at = now() - timedelta(seconds=1)
    outcome = OutgoingShown(
        id=1, guid="g", event=PING, state=state, attempts=1, status=status, reason=reason, created_at=at,
        due_at=at, sent_at=None,
    )  # fmt: skip

    assert came_of("Test", outcome) == says
