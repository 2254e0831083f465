"""How reports go out: in lanes, one by one, within GitHub's limits, each to an end."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from bot.github.client import GitHubError, GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.github.lane import Lane
from bot.reports.reporter import Reporter
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Report, ReportKind, ReportState, Repository
from config.settings import Settings
from workers.contract.messages import now

REACTION, STATUS = ReportKind.REACTION, ReportKind.STATUS


class _GitHub:
    """Answers each repository as told; counts how many requests of an installation run at once."""

    def __init__(self) -> None:
        self.answers: defaultdict[int, list[GitHubError]] = defaultdict(list)
        self.asked: list[tuple[int, Any]] = []
        self.most: defaultdict[int | None, int] = defaultdict(int)
        self._now: defaultdict[int | None, int] = defaultdict(int)
        self.telling = self.checks = self

    async def may(self, _repository: Repository) -> bool:
        return False

    async def react(self, repository: Repository, comment_id: int, _content: str) -> None:
        await self._ask(repository, comment_id)

    async def set_status(self, repository: Repository, sha: str, _body: object) -> None:
        await self._ask(repository, sha)

    async def _ask(self, repository: Repository, what: Any) -> None:
        lane = repository.installation_id
        self.asked.append((repository.id, what))
        self._now[lane] += 1
        self.most[lane] = max(self.most[lane], self._now[lane])
        await asyncio.sleep(0)
        self._now[lane] -= 1
        if self.answers[repository.id]:
            raise self.answers[repository.id].pop(0)


@pytest.fixture
def github() -> _GitHub:
    return _GitHub()


@pytest.fixture
def reporter(store: Store, github: _GitHub) -> Reporter:
    return Reporter(store, cast(GitHub, github), Settings(), cast(LogStore, None))


@pytest.fixture(autouse=True)
async def repositories(store: Store) -> None:
    """1 and 2 belong to one installation, 3 to another."""
    async with store.transaction() as session:
        for number, installation in ((1, 10), (2, 10), (3, 30)):
            session.add(
                Repository(
                    id=number, full_name=f"a/r{number}", default_branch="main", installation_id=installation
                )
            )


async def owe(store: Store, repository: int, kind: ReportKind, count: int) -> None:
    async with store.transaction() as session:
        for number in range(count):
            payload: dict[str, Any] = {"comment_id": number, "content": "eyes"}
            if kind is STATUS:
                payload = {"sha": f"s{number}", "state": "pending", "context": "c", "description": "d"}
            session.add(Report(repository_id=repository, kind=kind, key=f"{kind}-{number}", payload=payload))


async def reports(store: Store, repository: int) -> Sequence[Report]:
    async with store.reading() as session:
        wanted = select(Report).where(Report.repository_id == repository).order_by(col(Report.id))
        return (await session.exec(wanted)).all()


async def states(store: Store, repository: int) -> list[ReportState]:
    return [report.state for report in await reports(store, repository)]


async def make_due(store: Store) -> None:
    async with store.transaction() as session:
        await session.exec(update(Report).values(due_at=now()))


async def test_an_installations_reports_go_one_by_one_and_others_beside_them(
    store: Store, reporter: Reporter, github: _GitHub
) -> None:
    for repository in (1, 2, 3):
        await owe(store, repository, STATUS, 5)

    await reporter.send_due()

    assert github.most == {10: 1, 30: 1}
    assert len(github.asked) == 15


async def test_a_limit_pauses_the_whole_installation_and_no_other(
    store: Store, reporter: Reporter, github: _GitHub
) -> None:
    for repository in (1, 2, 3):
        await owe(store, repository, STATUS, 2)
    github.answers[1] = [GitHubUnavailable("secondary rate limit", 60)]

    await reporter.send_due()
    await make_due(store)
    await reporter.send_due()

    assert [asked for asked in github.asked if asked[0] != 3] == [(1, "s0")]
    assert await states(store, 3) == [ReportState.SENT] * 2
    assert (await reports(store, 1))[0].reason == "secondary rate limit"


async def test_content_beyond_githubs_limit_waits_and_statuses_do_not(
    store: Store, reporter: Reporter
) -> None:
    await owe(store, 1, REACTION, 60)
    await owe(store, 1, STATUS, 5)
    clock = asyncio.get_running_loop().time
    begun = clock()

    await reporter.send_due()

    more = (clock() - begun) * 40 / 60
    sent = [report.kind for report in await reports(store, 1) if report.state is ReportState.SENT]
    assert sent.count(STATUS) == 5
    assert 40 <= sent.count(REACTION) < 41 + more, "80 a minute: as many again come within the minute"


@pytest.mark.parametrize("status", [404, 422])
async def test_what_may_be_lag_is_tried_again_and_then_ends_with_its_reason(
    store: Store, reporter: Reporter, github: _GitHub, status: int
) -> None:
    await owe(store, 1, STATUS, 1)
    github.answers[1] = [GitHubRefused(status, f"{status}: no")] * 10

    for _ in range(10):
        await reporter.send_due()
        await make_due(store)

    [report] = await reports(store, 1)
    assert (report.state, report.reason) == (ReportState.REFUSED, f"{status}: no")
    assert 2 <= len(github.asked) <= 5


async def test_what_is_gone_for_good_ends_at_once_and_the_next_is_sent(
    store: Store, reporter: Reporter, github: _GitHub
) -> None:
    await owe(store, 1, STATUS, 2)
    github.answers[1] = [GitHubRefused(410, "410: gone")]

    await reporter.send_due()

    assert await states(store, 1) == [ReportState.REFUSED, ReportState.SENT]
    assert (await reports(store, 1))[0].reason == "410: gone"


async def test_a_refused_login_ends_nothing(store: Store, reporter: Reporter, github: _GitHub) -> None:
    await owe(store, 1, STATUS, 2)
    github.answers[1] = [GitHubRefused(401, "401: bad credentials")]

    await reporter.send_due()

    assert await states(store, 1) == [ReportState.PENDING] * 2


async def test_an_archived_repositorys_reports_end_without_a_request(
    store: Store, reporter: Reporter, github: _GitHub
) -> None:
    await owe(store, 1, STATUS, 1)
    async with store.transaction() as session:
        (await session.get_one(Repository, 1)).inactive = "archived"

    await reporter.send_due()

    assert (await reports(store, 1))[0].reason == "a/r1 is archived"
    assert github.asked == []


async def test_pauses_grow_where_github_does_not_say_how_long_and_start_anew_after_a_success() -> None:
    lane, unsaid = Lane(), GitHubUnavailable("secondary rate limit", 60)

    assert [lane.pause(unsaid) for _ in range(6)] == [60, 120, 240, 480, 720, 720]
    assert not lane.open
    lane.took()
    assert lane.pause(unsaid) == 60


async def test_a_pause_that_github_names_is_kept_as_it_is() -> None:
    lane, told = Lane(), GitHubUnavailable("rate limit", 1800, told=True)

    assert [lane.pause(told) for _ in range(3)] == [1800] * 3
