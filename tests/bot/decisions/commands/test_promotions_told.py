"""A promotion of what is not merged is held like its deploy, and a fork's image stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import col, select

from bot.store.tables import Environment, Image, Job, Release, ReleaseState
from tests.bot.decisions.test_environments_told import ask
from tests.bot.talk import Talk
from workers.contract.messages import Kind, now

FILE = """
environments:
  production:
    on: [command]
    gates: {review: true, approval: true, up_to_date: update, confirm: true}
  staging: {branches: [next]}
  released: {branches: [next], gates: {review: true}}
  preview: {}
"""
HELD = (
    "review: no review approves of this commit",
    "approval: nobody has approved this commit",
    "up to date: 1 commit of main are not in it; merge the base branch into it",
    "confirmation: not confirmed yet",
)


async def live(talk: Talk, name: str, sha: str) -> int:
    """The newest deploy that was planned to an environment has gone live; the release's number."""
    deploys = (
        select(Job).where(Job.kind == Kind.DEPLOY, Job.name == name).order_by(col(Job.created_at).desc())
    )
    async with talk.store.transaction() as session:
        job = (await session.exec(deploys)).first()
        assert job is not None
        assert job.sha == sha
        here = select(Environment).where(Environment.name == name)
        place = (await session.exec(here)).one()
        known = {"repository_id": talk.repository.id, "name": "app", "tree": "t", "digest": "d", "size": 1}
        image = f"shop@sha256:{sha}"
        session.add(Image(**known, job_id=job.id, sha=sha, reference=image))  # type: ignore[arg-type]
        release = Release(
            environment_id=place.id or 0,
            run_id=job.run_id,
            job_id=job.id,
            sha=sha,
            image=image,
            settings=job.spec,
            state=ReleaseState.LIVE,
            live_at=now(),
        )
        session.add(release)
        await session.flush()
        return release.id or 0


async def previewed(talk: Talk) -> tuple[int, str]:
    """A pull request of ada's that runs in its preview, behind main by one commit."""
    number, sha = await talk.open_pull({"a": "1"})
    await live(talk, f"pr-{number}", sha)
    await talk.work.checkout("main")
    await talk.push({"b": "1"}, message="Main goes on [skip ci]")
    return number, sha


async def production(talk: Talk) -> int:
    """The id of an environment that ran before."""
    async with talk.store.transaction() as session:
        place = Environment(repository_id=talk.repository.id, name="production")
        session.add(place)
        await session.flush()
        return place.id or 0


async def test_a_promotion_is_held_by_every_gate_that_holds_the_deploy_of_the_same_commit(talk: Talk) -> None:
    number, sha = await previewed(talk)
    await talk.done(number, f"/approve {sha}")  # the author's own

    said = await talk.refused(number, f"/promote pr-{number} production")

    for gate in HELD:
        assert gate in said
    same = await talk.refused(number, f"/deploy production {sha}")
    assert [line.split(":")[0] for line in said.splitlines()] == [
        line.split(":")[0] for line in same.splitlines()
    ]


async def test_it_is_held_the_same_on_its_way_over_staging_and_from_another_pull_request(talk: Talk) -> None:
    number, sha = await previewed(talk)
    await talk.accepted(number, f"/promote pr-{number} staging")
    await live(talk, "staging", sha)
    await talk.work.checkout("other", create=True)
    other_sha = await talk.push({"c": "1"}, "other")
    other = await talk.github.open_pull(talk.repository, talk.ada, head="other")
    await talk.announced(other, other_sha)

    said = await talk.refused(other, "/promote staging production")

    for gate in HELD:
        assert gate in said


async def test_the_api_is_held_as_well_whether_it_promotes_or_deploys_a_release(talk: Talk) -> None:
    number, sha = await talk.open_pull({"a": "1"})
    release, place = await live(talk, f"pr-{number}", sha), await production(talk)

    for path, body in (("promote", {"from": f"pr-{number}"}), ("deploys", {"release": release})):
        status, told = await ask(talk, f"/environments/{place}/{path}", **body)
        assert status == 409
        assert [gate.partition(":")[0] for gate in told["held"]] == ["review", "approval"]


async def test_what_main_has_is_promoted_without_a_review_of_its_own(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    await talk.accepted(number, "/deploy main to staging")
    await live(talk, "staging", talk.first)

    said = await talk.refused(number, "/promote staging production")

    assert [line.split(":")[0] for line in said.splitlines()] == ["held by approval", "held by confirmation"]


async def test_another_branchs_commit_is_held_by_a_review_except_where_its_push_goes_by_itself(
    talk: Talk,
) -> None:
    await talk.work.checkout("next", create=True)
    sha = await talk.push({"a": "1"}, "next")
    await talk.until_reason(f"runs {sha[:7]} of next")
    await live(talk, "staging", sha)
    number, _ = await talk.open_pull({"b": "1"})

    assert HELD[0] in await talk.refused(number, "/promote staging production")
    await talk.accepted(number, "/promote staging released")


@pytest.mark.parametrize("woken", [False, True], ids=["as it was made", "as it was woken"])
async def test_a_forks_image_never_leaves_its_preview(talk: Talk, tmp_path: Path, woken: bool) -> None:
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await talk.github.fork(talk.repository, eve)
    work = await fork.clone(tmp_path / "fork", eve)
    sha = await work.commit({"a": "1"})
    await work.push(branch="main")
    number = await talk.github.open_pull(talk.repository, eve, head="eve:main")
    await talk.shown(number, f"/approve {sha}")
    await talk.accepted(number, f"/approve {sha}")
    release = await live(talk, f"pr-{number}", sha)
    if woken:  # by a run of nobody's, which is no fork's
        async with talk.store.transaction() as session:
            (await session.get_one(Release, release)).run_id = 0
    place = await production(talk)

    for target in ("staging", "production"):
        said = await talk.refused(number, f"/promote pr-{number} {target}")
        assert said == f"release {release} is a fork's and never leaves its preview: merge it to deploy it"
    assert (await ask(talk, f"/environments/{place}/deploys", release=release))[0] == 422
    assert (await ask(talk, f"/environments/{place}/promote", **{"from": f"pr-{number}"}))[0] == 422


async def test_who_may_roll_back_is_what_main_says_now(talk: Talk) -> None:
    number, sha = await talk.open_pull({"a": "1"})
    await talk.accepted(number, f"/deploy staging {sha}")
    await live(talk, "staging", sha)
    await talk.work.checkout("main")
    await talk.push(
        {".blacktree.yml": FILE.replace("staging: {", "staging: {deployers: [grace], ")}, message="[skip ci]"
    )
    async with talk.store.transaction() as session:
        (await session.exec(select(Release))).one().state = ReleaseState.RETIRED

    assert "deployers: ada may not deploy here" in await talk.refused(number, "/rollback staging")


async def ran_in(talk: Talk, release: int, pool: str, attempts: int) -> None:
    """A release was brought out by a job of this pool, with so many attempts; it serves no more."""
    async with talk.store.transaction() as session:
        row = await session.get_one(Release, release)
        job = await session.get_one(Job, row.job_id)
        job.pool, job.attempts, row.state = pool, attempts, ReleaseState.RETIRED


async def test_a_rollback_runs_where_the_release_ran_and_a_stop_where_the_newest_one_runs(talk: Talk) -> None:
    number, sha = await talk.open_pull({"a": "1"})
    name = f"pr-{number}"
    await ran_in(talk, await live(talk, name, sha), "forks", 7)
    newer = await talk.push({"a": "2"}, "feature")
    await talk.announced(number, newer)
    await live(talk, name, newer)

    await talk.accepted(number, f"/rollback {name}")
    (again,) = await talk.jobs((await talk.runs())[-1])
    assert (again.kind, again.sha, again.pool, again.attempts) == (Kind.DEPLOY, sha, "forks", 7)

    await live(talk, name, sha)
    await talk.github.close_pull(talk.repository, number, talk.ada)
    await talk.until_reason(f"stops {name}")
    (stop,) = await talk.jobs((await talk.runs())[-1])
    assert (stop.kind, stop.pool) == (Kind.STOP, "forks")


async def test_what_never_went_live_is_stopped_where_it_was_started(talk: Talk) -> None:
    number, sha = await talk.open_pull({"a": "1"})
    release = await live(talk, f"pr-{number}", sha)
    await ran_in(talk, release, "forks", 3)
    async with talk.store.transaction() as session:
        row = await session.get_one(Release, release)
        row.state, row.live_at = ReleaseState.FAILED, None

    await talk.github.close_pull(talk.repository, number, talk.ada)
    await talk.until_reason(f"stops pr-{number}")
    (stop,) = await talk.jobs((await talk.runs())[-1])
    assert (stop.kind, stop.pool) == (Kind.STOP, "forks")
