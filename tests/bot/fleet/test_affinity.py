"""A worker that takes an offer gets another job, for which it is warm; nothing is lost or done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.jobs.affinity import PATIENCE
from bot.store.tables import Job, JobState, Repository, Run
from tests.bot.talk import Talk, talking
from tests.github import GitHub
from workers.contract.messages import Claim, Grant, Kind, Nudge, Refusal, now
from workers.contract.seal import Keys

KEYS = Keys()


class World:
    """A bot in whose line two builds stand: the first of a repository that is warm elsewhere."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk

    async def fill(self) -> None:
        """`cold` is first and warm at `other`, `warm` is next and warm at `me`."""
        own, sha = self.talk.repository, await self.talk.work.head()
        async with self.talk.store.transaction() as session:
            for place, (name, worker) in enumerate((("cold", "other"), ("warm", "me")), start=1):
                session.add(
                    Repository(
                        id=900 + place, full_name=own.full_name, default_branch="main", built_on=[worker]
                    )
                )
                run = Run(
                    repository_id=900 + place, cause="push", cause_key=name, ref="refs/heads/main",
                    sha=sha, actor="ada",
                )  # fmt: skip
                session.add(run)
                await session.flush()
                session.add(
                    Job(
                        id=name, run_id=run.id or 0, repository_id=900 + place, sha=run.sha, kind=Kind.BUILD,
                        name="app", context="", pool="elsewhere", spec=self.spec, state=JobState.QUEUED,
                        rank=2, turn=place, attempts=3, unmet=0, offered_at=now(),
                    )
                )  # fmt: skip

    spec: dict[str, object]

    async def claim(
        self, job: str, worker: str, nonce: str = "", *, redelivered: bool = False
    ) -> Grant | Refusal:
        claim = Claim(
            job=job, worker=worker, instance=worker, nonce=nonce or f"{job} {worker}",
            public_key=KEYS.public, redelivered=redelivered,
        )  # fmt: skip
        answer = await self.talk.queue.request(claim, 60)
        assert isinstance(answer, Grant | Refusal)
        return answer

    async def job(self, job: str) -> Job:
        async with self.talk.store.reading() as session:
            return await session.get_one(Job, job)


@pytest.fixture
async def world(tmp_path: Path, github: GitHub, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with talking(tmp_path, github, **getattr(request, "param", {})) as talk:
        await talk.push({"a": "0"})
        await talk.until_run("push")
        here = World(talk)
        here.spec = (await talk.jobs((await talk.runs())[-1]))[0].spec
        await here.fill()
        yield here


async def granted(world: World, job: str, worker: str, nonce: str = "") -> tuple[str, int]:
    answer = await world.claim(job, worker, nonce)
    assert isinstance(answer, Grant), answer
    return answer.job, answer.attempt


async def test_a_worker_gets_the_job_whose_mirror_it_has_and_the_first_is_next_again(world: World) -> None:
    assert await granted(world, "cold", "me") == ("warm", 1)

    first = await world.job("cold")
    assert (first.state, first.attempt) == (JobState.QUEUED, 0)
    assert first.passed_at is not None
    assert await granted(world, "cold", "other") == ("cold", 1)
    assert (await world.job("cold")).passed_at is None


async def test_who_asks_again_gets_the_same_grant(world: World) -> None:
    for _ in range(2):
        assert await granted(world, "cold", "me", "once") == ("warm", 1)
    assert await granted(world, "cold", "other") == ("cold", 1)
    assert await granted(world, "cold", "me", "once") == ("warm", 1)


async def test_a_message_that_comes_twice_does_nothing_twice(world: World) -> None:
    assert await granted(world, "cold", "me") == ("warm", 1)
    assert await world.claim("warm", "third") == Refusal(reason="it is running")
    assert await granted(world, "cold", "third") == ("cold", 1)
    assert await world.claim("cold", "fourth") == Refusal(reason="it is running")
    assert ((await world.job("cold")).worker, (await world.job("warm")).worker) == ("third", "me")


async def test_what_a_killed_worker_did_by_anothers_offer_comes_back_with_that(world: World) -> None:
    """The broker gives the offer that it held to the next one: by its name alone nobody knew what is lost."""
    assert await granted(world, "cold", "me") == ("warm", 1)

    answer = await world.claim("cold", "third", redelivered=True)

    lost = await world.job("warm")
    assert (lost.state, lost.attempt, lost.reason) == (JobState.QUEUED, 1, "worker_lost")
    assert isinstance(answer, Grant)
    assert (answer.job, answer.attempt) == ("cold", 1)


@pytest.mark.parametrize("world", [{"queue_url": "amqp://a.test,b.test,c.test/"}], indirect=True)
async def test_who_was_at_a_lost_node_of_the_broker_has_a_moment_to_come_back(world: World) -> None:
    assert await granted(world, "cold", "me") == ("warm", 1)
    claimed = asyncio.create_task(world.claim("warm", "third", redelivered=True))
    await asyncio.sleep(0.3)  # as long as it takes to come back
    orders = world.talk.queue.orders("me")  # it is connected again, and hears what it is told
    back = asyncio.ensure_future(anext(orders))

    assert await claimed == Refusal(reason="it is running")
    assert await back == Nudge()
    assert ((await world.job("warm")).worker, (await world.job("warm")).attempt) == ("me", 1)


async def test_nothing_is_passed_over_for_longer_than_a_moment(world: World) -> None:
    async with world.talk.store.transaction() as session:
        long_ago = now() - timedelta(seconds=PATIENCE + 1)
        (await session.get_one(Job, "cold")).passed_at = long_ago
    assert await granted(world, "cold", "me") == ("cold", 1)


async def test_whoever_builds_for_a_repository_is_warm_for_it_from_then_on(world: World) -> None:
    assert await granted(world, "cold", "third") == ("cold", 1)
    async with world.talk.store.reading() as session:
        assert (await session.get_one(Repository, 901)).built_on == ["third", "other"]
