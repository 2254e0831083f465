"""What GitHub could not tell us is found again: deliveries, heads, schedules and previews that are over."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from bot.decisions.cron import due
from bot.github.deliveries import Attempt
from bot.github.forge import GitHub as Forge
from bot.intake.processing import Processor
from bot.store.database import Store
from bot.store.tables import (
    Delivery,
    DeliveryState,
    Environment,
    Job,
    JobState,
    Mark,
    Pull,
    Repository,
    Run,
)
from bot.sweeps import heads, missed, orphans, previews
from bot.sweeps.schedules import Schedules
from config.settings import Settings
from tests.github import Contract, GitHub, User, WorkTree
from tests.github import Repository as Sample
from workers.contract.messages import Kind, now

NOBODY = "http://127.0.0.1:9/webhooks/github"  # where no bot listens


@dataclass
class Bot:
    """The parts of a bot that decide, without any that receives."""

    github: GitHub
    forge: Forge
    store: Store
    settings: Settings
    shop: Sample
    ada: User
    work: WorkTree

    async def push(self, text: str, message: str = "A change") -> str:
        sha = await self.work.commit({"page.txt": text}, message=message)
        await self.work.push()
        await self.github.settled()
        return sha

    async def known(self, sha: str, **columns: Any) -> None:
        """The bot ran this commit of the default branch."""
        async with self.store.transaction() as session:
            if await session.get(Repository, self.shop.id) is None:
                row = Repository(id=self.shop.id, full_name="acme/shop", default_branch="main")
                session.add(row)
            key = {"cause": "push", "cause_key": f"push {sha}", "actor": "ada", "ref": "refs/heads/main"}
            session.add(Run(**{**key, "repository_id": self.shop.id, "sha": sha, **columns}))

    async def catch_up(self) -> None:
        """One round of both sweeps, and what follows from what they found."""
        await missed.sweep(self.store, self.forge, self.settings)
        await self.decide()
        await heads.sweep(self.store, self.forge, grace=-5)
        await self.decide()

    async def decide(self) -> None:
        processor = Processor(self.store, self.forge, self.settings)
        for delivery in await processor._due():
            await processor._process(delivery)

    async def all(self, table: type[Any], *order: Any) -> list[Any]:
        async with self.store.reading() as session:
            return list((await session.exec(select(table).order_by(*order))).all())

    async def runs(self) -> list[Run]:
        return await self.all(Run, col(Run.id))

    async def deliveries(self) -> list[Delivery]:
        return await self.all(Delivery, col(Delivery.received_at))


@pytest.fixture
async def bot(tmp_path: Path, store: Store) -> AsyncIterator[Bot]:
    contract = Contract.find()
    assert contract is not None, "GitHub's OpenAPI description is missing: run tests/machine/npm-ci"
    async with GitHub.running(tmp_path / "github", contract=contract) as github:
        ada = github.user("ada")
        shop = await github.create_repository(
            "acme/shop", {"Dockerfile": "FROM scratch"}, collaborators={"ada": "write"}
        )
        github.install_app(shop)
        github.app.hook_url = NOBODY
        settings = Settings(
            github_api_url=github.api_url,
            github_app_id=github.app.id,
            github_app_private_key=github.app.private_key,
            data_dir=tmp_path,
        )
        async with Forge.connected(settings) as forge:
            work = await shop.clone(tmp_path / "work", ada)
            yield Bot(github, forge, store, settings, shop, ada, work)
    assert contract.violations == []


async def test_a_bot_that_was_down_builds_only_the_newest_of_three_missed_pushes(bot: Bot) -> None:
    await bot.known("1" * 40)
    first, _, newest = [await bot.push(text) for text in ("one", "two", "three")]

    for _ in range(3):
        await bot.catch_up()

    assert [run.sha for run in await bot.runs()] == ["1" * 40, newest]
    reasons = {json.loads(one.payload)["after"]: one.reason for one in await bot.deliveries()}
    assert reasons[first] == f"superseded: refs/heads/main is at {newest[:7]} by now"


async def test_a_head_that_no_delivery_told_is_run_once(bot: Bot) -> None:
    await bot.known("1" * 40)
    sha = await bot.push("one")

    for _ in range(2):
        await heads.sweep(bot.store, bot.forge, grace=-5)
        await bot.decide()

    assert [run.sha for run in await bot.runs()] == ["1" * 40, sha]
    assert [one.reason for one in await bot.deliveries()] == [f"runs {sha[:7]} of main"]
    assert (await bot.runs())[-1].actor == "", "what the commit says of its author is anybody's word"


async def test_a_push_that_is_just_on_its_way_is_left_to_github(bot: Bot) -> None:
    await bot.known("1" * 40)
    await bot.push("one")

    await heads.sweep(bot.store, bot.forge, grace=600)
    assert await bot.deliveries() == []

    await heads.sweep(bot.store, bot.forge, grace=-5)
    assert [one.event for one in await bot.deliveries()] == ["push"]


async def test_a_head_that_asks_to_be_skipped_is_looked_at_once(bot: Bot) -> None:
    await bot.known("1" * 40)
    await bot.push("one", "A change [skip ci]")

    for _ in range(3):
        await heads.sweep(bot.store, bot.forge, grace=-5)
        await bot.decide()

    assert [one.reason for one in await bot.deliveries()] == ["ignored: the commit's message says to skip"]


async def test_a_repository_without_runs_is_not_built_by_a_sweep(bot: Bot) -> None:
    async with bot.store.transaction() as session:
        session.add(Repository(id=bot.shop.id, full_name="acme/shop", default_branch="main"))
    await heads.sweep(bot.store, bot.forge, grace=-5)
    assert await bot.deliveries() == []


async def test_a_pull_request_that_was_opened_and_one_that_was_closed_unheard(bot: Bot) -> None:
    await bot.known("1" * 40)
    await heads.sweep(bot.store, bot.forge, grace=-5)
    await bot.decide()
    async with bot.store.transaction() as session:
        session.add(Pull(repository_id=bot.shop.id, number=77, head_sha="2" * 40, head_ref="gone"))
    await bot.work.checkout("feature", create=True)
    await bot.work.commit({"page.txt": "feature"})
    await bot.work.push("feature")
    number = await bot.github.open_pull(bot.shop, bot.ada, head="feature")
    async with bot.store.transaction() as session:
        await session.delete(await session.get_one(Pull, (bot.shop.id, 77)))

    await heads.sweep(bot.store, bot.forge, grace=-5)
    await bot.decide()
    opened = (await bot.runs())[-1]
    assert (opened.cause, opened.pull_number) == ("pull_request", number)

    await bot.github.close_pull(bot.shop, number, bot.ada)
    for _ in range(2):
        await heads.sweep(bot.store, bot.forge, grace=-5)
        await bot.decide()
    closed = [run for run in await bot.runs() if run.id and opened.id and run.id > opened.id]
    assert [run.cause for run in closed] == ["pull_request closed"]


async def test_a_missed_comment_is_redelivered_by_github(bot: Bot) -> None:
    await bot.work.checkout("feature", create=True)
    await bot.work.commit({"page.txt": "feature"})
    await bot.work.push("feature")
    number = await bot.github.open_pull(bot.shop, bot.ada, head="feature")
    await bot.github.comment(bot.shop, number, bot.ada, "/help")
    await bot.github.settled()

    await missed.sweep(bot.store, bot.forge, bot.settings)
    await bot.github.settled()

    again = [one for one in bot.github.deliveries if one.redelivery and one.event == "issue_comment"]
    assert [one.action for one in again] == ["created"]
    # That failed too, so the next sweep takes its body from the API.
    await missed.sweep(bot.store, bot.forge, bot.settings)
    stored = {one.guid: one for one in await bot.deliveries()}
    assert stored[again[0].guid].state is DeliveryState.RECEIVED


async def test_a_sweep_outlives_github(bot: Bot) -> None:
    await bot.known("1" * 40)
    await bot.push("one")
    with bot.github.down():
        await missed.sweep(bot.store, bot.forge, bot.settings)
        await heads.sweep(bot.store, bot.forge, grace=-5)
        await Schedules(bot.store, bot.forge).sweep()
    assert await bot.deliveries() == []
    await bot.catch_up()
    assert len(await bot.runs()) == 2


async def test_a_plain_token_finds_the_deliveries_of_its_repository_hook(bot: Bot) -> None:
    await bot.known("1" * 40)
    bot.github.app.hook_url = None
    boss = bot.github.user("acme-boss")
    bot.shop.collaborators[boss.login] = "admin"
    bot.github.add_hook(bot.shop, NOBODY)
    settings = Settings(github_api_url=bot.github.api_url, github_token=boss.token, public_url=NOBODY[:18])
    sha = await bot.push("one")
    async with Forge.connected(settings) as forge:
        await missed.sweep(bot.store, forge, settings)
    await bot.decide()
    assert [run.sha for run in await bot.runs()] == ["1" * 40, sha]


@pytest.mark.parametrize(
    ("oks", "found"), [((False,), 1), ((False, False), 1), ((False, True), 0), ((True, False), 0)]
)
def test_a_delivery_is_lost_when_no_attempt_succeeded(oks: tuple[bool, ...], found: int) -> None:
    attempts = [Attempt(place, "guid", now(), ok, place > 0, "push", None) for place, ok in enumerate(oks)]
    assert len(missed.lost(attempts, lambda *_: True)) == found
    assert missed.lost(attempts, lambda *_: False) == []


@pytest.mark.parametrize(
    ("seen", "ran", "news"),
    [
        (None, (), {}),
        (None, ("a",), {"a": "1"}),
        ({"a": "1"}, (), {"b": "2"}),
        ({"a": "1", "b": "2"}, ("a",), {}),
        ({"a": "0", "b": "2"}, (), {"a": "1"}),
    ],
)
def test_a_first_look_only_notes_what_was_never_run(
    seen: dict[str, str] | None, ran: tuple[str, ...], news: dict[str, str]
) -> None:
    assert heads.news({"a": "1", "b": "2"}, seen, ran) == news


async def _preview(bot: Bot, **columns: Any) -> None:
    await bot.known("1" * 40)
    async with bot.store.transaction() as session:
        known = {"repository_id": bot.shop.id, "number": 3, "head_sha": "2" * 40, "head_ref": "feature"}
        session.add(Pull(**{**known, **columns}))
        session.add(Environment(repository_id=bot.shop.id, name="pr-3", pull_number=3))


async def _stops(bot: Bot) -> list[Job]:
    return [job for job in await bot.all(Job, col(Job.created_at)) if job.kind is Kind.STOP]


async def test_a_preview_whose_time_is_over_is_stopped_once(bot: Bot) -> None:
    await _preview(bot, expires_at=now() - timedelta(minutes=1))
    await previews.sweep(bot.store, bot.settings)
    await previews.sweep(bot.store, bot.settings)
    assert [job.environment for job in await _stops(bot)] == ["pr-3"]
    assert (await bot.runs())[-1].cause == "expired"


async def test_a_preview_whose_time_is_not_over_goes_on(bot: Bot) -> None:
    await _preview(bot, expires_at=now() + timedelta(minutes=1))
    await previews.sweep(bot.store, bot.settings)
    assert await _stops(bot) == []


async def test_a_closed_pull_requests_preview_is_stopped_again_after_a_stop_that_failed(bot: Bot) -> None:
    await _preview(bot, open=False)
    await previews.sweep(bot.store, bot.settings)
    for ago, stops in ((timedelta(minutes=1), 1), (timedelta(hours=2), 2)):
        async with bot.store.transaction() as session:
            for job in (await session.exec(select(Job))).all():
                job.state, job.ended_at = JobState.FAILED, now() - ago
        await previews.sweep(bot.store, bot.settings)
        assert len(await _stops(bot)) == stops


async def test_a_preview_that_no_open_pull_request_owns_is_stopped(bot: Bot) -> None:
    await _preview(bot)  # of #3, which GitHub has not
    await bot.work.checkout("feature", create=True)
    await bot.work.commit({"page.txt": "feature"})
    await bot.work.push("feature")
    number = await bot.github.open_pull(bot.shop, bot.ada, head="feature")
    async with bot.store.transaction() as session:
        head: dict[str, Any] = {"repository_id": bot.shop.id, "head_sha": "2" * 40, "head_ref": "feature"}
        session.add(Pull(**head, number=number))
        session.add(Environment(repository_id=bot.shop.id, name=f"pr-{number}", pull_number=number))

    with bot.github.down():
        await orphans.sweep(bot.store, bot.forge)
    await previews.sweep(bot.store, bot.settings)
    assert await _stops(bot) == [], "GitHub's silence is no answer"
    await orphans.sweep(bot.store, bot.forge)
    await previews.sweep(bot.store, bot.settings)
    assert [job.environment for job in await _stops(bot)] == ["pr-3"]

    async with bot.store.transaction() as session:
        (await session.get_one(Repository, bot.shop.id)).inactive = "deleted"
    await previews.sweep(bot.store, bot.settings)
    assert [job.environment for job in await _stops(bot)] == ["pr-3", f"pr-{number}"]


async def test_a_repository_that_github_does_not_show_for_an_hour_has_no_previews(bot: Bot) -> None:
    await _preview(bot)
    async with bot.store.transaction() as session:
        (await session.get_one(Repository, bot.shop.id)).full_name = "acme/gone"

    for ago, stops in ((timedelta(), 0), (timedelta(minutes=59), 0), (timedelta(minutes=61), 1)):
        await orphans.sweep(bot.store, bot.forge)
        async with bot.store.transaction() as session:
            for mark in (await session.exec(select(Mark))).all():
                mark.value = (now() - ago).isoformat()
        await orphans.sweep(bot.store, bot.forge)
        await previews.sweep(bot.store, bot.settings)
        assert len(await _stops(bot)) == stops


SCHEDULED = """
schedules:
  - cron: "* * * * *"
    environment: production
"""


async def test_a_missed_schedule_fires_once_and_runs_the_branch(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr("bot.sweeps.schedules.now", lambda: at)  # no next minute begins meanwhile
    sha = await bot.work.commit({".blacktree.yml": SCHEDULED})
    await bot.work.push()
    await bot.known("1" * 40)
    schedules = Schedules(bot.store, bot.forge)
    await schedules.sweep()
    assert await bot.deliveries() == []  # nothing was due before it was first seen

    async with bot.store.transaction() as session:
        for mark in (await session.exec(select(Mark))).all():
            mark.value = (now() - timedelta(days=1)).isoformat()
    await schedules.sweep()
    await schedules.sweep()

    (delivery,) = await bot.deliveries()
    payload = json.loads(delivery.payload)
    assert (delivery.event, payload["schedule"]["environment"]) == ("schedule", "production")
    await bot.decide()
    (delivery,) = await bot.deliveries()
    assert delivery.reason == f"runs {sha[:7]} of main, as scheduled"


@pytest.mark.parametrize(
    ("cron", "due_at"),
    [
        ("0 9 * * 1-5", "2026-11-24T09:00"),  # a Tuesday
        ("0 9 * * 2", "2026-11-24T09:00"),
        ("0 9 * * 0", "2026-11-29T09:00"),
        ("0 9 * * 7", "2026-11-29T09:00"),
        ("0 9 * * sat", "2026-11-28T09:00"),
        ("*/15 * * * *", "2026-11-24T08:15"),
        ("0 9 * * */3", "2026-11-25T09:00"),
    ],
)
def test_cron_counts_weekdays_from_sunday(cron: str, due_at: str) -> None:
    since = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
    at = datetime.fromisoformat(due_at).replace(tzinfo=UTC)
    assert due(cron, since, at)
    assert not due(cron, since, at - timedelta(seconds=1))
