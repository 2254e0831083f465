"""What people ask of environments, by events, commands and the API: to a bot that has no worker."""

from __future__ import annotations

import json
from typing import Any

from sqlmodel import col, select

from bot.store.tables import (
    Delivery,
    Environment,
    Image,
    Job,
    JobState,
    Mark,
    Release,
    ReleaseState,
    Repository,
)
from bot.sweeps import thaws
from tests.bot.talk import Talk
from workers.contract.messages import Kind, now

ALWAYS = '{cron: "* * * * *", lasts: 365d, reason: the fair}'
FILE = """
environments:
  production: {}
  staging: {on: [command], gates: {after: production}}
  preview: {bases: [main, "release/*"], most: 1}
"""
FROZEN = FILE.replace("production: {}", f"production: {{freeze: [{ALWAYS}]}}")
_IMAGE: dict[str, Any] = {"name": "app", "tree": "t", "digest": "d", "size": 1}
DEPLOY = "blacktree/deploy (production)"


async def served(talk: Talk, name: str, *shas: str) -> Environment:
    """An environment that ran these commits, and runs the last of them."""
    async with talk.store.transaction() as session:
        if await session.get(Repository, talk.repository.id) is None:
            row = Repository(id=talk.repository.id, full_name="acme/shop", default_branch="main")
            session.add(row)
        place = Environment(repository_id=talk.repository.id, name=name, url="http://shop.test")
        session.add(place)
        await session.flush()
        for number, sha in enumerate(shas, start=1):
            image, job = f"shop@sha256:{sha}", f"{name} {number}"
            session.add(
                Image(**_IMAGE, repository_id=place.repository_id, job_id=job, sha=sha, reference=image)
            )
            session.add(
                Release(
                    environment_id=place.id or 0,
                    run_id=0,
                    job_id=job,
                    sha=sha,
                    image=image,
                    settings={"env": {"A": str(number), "B": "b"}, "secrets": ["TOKEN"], "port": number},
                    state=ReleaseState.LIVE if number == len(shas) else ReleaseState.RETIRED,
                    worker="one",
                    live_at=now(),
                )
            )
    return place


async def ask(talk: Talk, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
    """POST to the API."""
    answer = await talk.api.post(path, json=body)
    return answer.status_code, answer.json()


async def get(talk: Talk, path: str) -> Any:
    return (await talk.api.get(path)).json()


async def test_a_freeze_holds_pushes_until_it_ends_and_skips_schedules(talk: Talk) -> None:
    sha = await talk.push({".blacktree.yml": FROZEN})

    said = await talk.status(sha, DEPLOY, "error")
    assert said.startswith("Held by freeze: the fair until 20")
    assert [job.kind for job in await talk.jobs((await talk.runs())[0])] == [Kind.BUILD]
    told = {"cron": "* * * * *", "environment": "production", "branch": None, "at": now().isoformat()}
    about = {"id": talk.repository.id, "full_name": "acme/shop", "default_branch": "main"}
    async with talk.store.transaction() as session:
        payload = json.dumps({"repository": about, "schedule": told})
        session.add(
            Delivery(guid="sweep-1", event="schedule", repository_id=talk.repository.id, payload=payload)
        )
    await talk.until_reason("production: skipped, freeze: the fair")
    assert len(await talk.runs()) == 1

    await thaws.sweep(talk.store)
    assert not [reason for reason in await talk.reasons() if "freeze is over" in reason], "it goes on"
    newest = await talk.push({".blacktree.yml": FILE}, message="No more freezes [skip ci]")
    await talk.until_reason("says to skip")
    async with talk.store.transaction() as session:
        mark = (await session.exec(select(Mark).where(col(Mark.name).startswith("thaw:")))).one()
        mark.value = json.dumps({**json.loads(mark.value), "until": now().isoformat()})
    await thaws.sweep(talk.store)
    await thaws.sweep(talk.store)

    await talk.until_reason(f"runs {newest[:7]} of main: the freeze is over")
    assert [job.environment for job in await talk.jobs((await talk.runs())[-1])] == [None, "production"]
    assert len(await talk.runs()) == 2


async def test_a_preview_is_for_pull_requests_into_the_bases_that_are_named(talk: Talk) -> None:
    await talk.github.move_branch(talk.repository, "other", talk.first)
    await talk.work.checkout("feature", create=True)
    sha = await talk.push({"a": "1"}, "feature")
    number = await talk.github.open_pull(talk.repository, talk.ada, head="feature", base="other")
    assert await talk.status(sha, "blacktree/deploy (preview)", "success") == (
        "No preview: only pull requests into main or release/* have previews"
    )

    await talk.github.edit_pull(talk.repository, number, talk.ada, base="main")
    await talk.until_reason(f"runs {sha[:7]} of #{number}")
    await talk.github.edit_pull(talk.repository, number, talk.ada, base="other")

    await talk.until_reason(f"stops pr-{number}: only pull requests into main")
    (stop,) = await talk.jobs((await talk.runs())[-1])
    assert (stop.kind, stop.spec["volumes"]) == (Kind.STOP, True)


async def test_one_preview_too_many_stops_the_oldest_and_its_comment_says_why(talk: Talk) -> None:
    first, _ = await talk.open_pull({"a": "1"}, "one")
    second, _ = await talk.open_pull({"a": "2"}, "two")

    await talk.until_reason(f"stops pr-{first} for pr-{second}")
    await talk.shown(first, "This preview was stopped for the one of")
    async with talk.store.reading() as session:
        stops = (await session.exec(select(Job).where(Job.kind == Kind.STOP))).all()
    assert [stop.environment for stop in stops] == [f"pr-{first}"]


async def test_the_api_is_held_by_the_same_gates_and_what_it_does_is_kept(talk: Talk) -> None:
    old, new = talk.first, await talk.push({".blacktree.yml": FILE + "# [skip ci]"}, message="[skip ci]")
    place = await served(talk, "production", old, new)
    at = f"/environments/{place.id}"
    number, _ = await talk.open_pull({"a": "1"})
    await talk.done(number, "/lock production the fair is on")

    status, told = await ask(talk, f"{at}/rollback")
    assert (status, "production is locked by ada" in told["message"]) == (409, True)
    assert len(told["held"]) == 1
    assert (await ask(talk, f"{at}/stop"))[0] == 409
    status, told = await ask(talk, f"{at}/rollback", actor="ada", why="it is broken")

    assert status == 202
    run = next(run for run in await talk.runs() if run.id == told["run"])
    assert (run.cause, run.actor, run.sha) == ("api rollback", "ada", old)
    (job,) = await talk.jobs(run)
    assert (job.spec["image_reference"], job.spec["why"]) == (f"shop@sha256:{old}", "it is broken")
    assert job.spec["services_stay"] is True
    async with talk.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.CANCELLED
    await talk.done(number, "/unlock production")
    shown = await get(talk, at)
    assert (shown["worker"], shown["release"]["sha"], shown["locks"]) == ("one", new, [])

    newest, oldest = await get(talk, f"{at}/releases")
    difference = (await get(talk, f"/releases/{newest['id']}?compare={oldest['id']}"))["compared"]
    assert difference["settings"] == {"port": [1, 2]}
    assert difference["env"] == {"added": [], "removed": [], "changed": ["A"]}
    assert difference["commit"]["from"] == old
    assert '"1"' not in json.dumps(difference), "a variable's value is nowhere"

    staging = await served(talk, "staging", old)
    status, told = await ask(talk, f"/environments/{staging.id}/deploys", release=oldest["id"])
    assert (status, told["held"][0].startswith("order: production does not run")) == (409, True)
    status, told = await ask(talk, f"/environments/{staging.id}/promote", **{"from": "production"})
    assert status == 202
    for path, body, expected in (
        ("/rollback", {"release": "999"}, 422),
        ("/rollback", {"relase": "1"}, 400),
        ("/promote", {"from": "nowhere"}, 422),
        ("/maintenance", {}, 400),
    ):
        assert (await ask(talk, at + path, **body))[0] == expected
    assert (await ask(talk, "/environments/999/rollback"))[0] == 404


async def test_maintenance_is_switched_by_a_command_and_by_the_api_and_told(talk: Talk) -> None:
    place = await served(talk, "production", talk.first)
    number, _ = await talk.open_pull({"a": "1"})

    assert await talk.done(number, "/maintenance production on Back at noon") == (
        "production is in maintenance"
    )
    assert (await get(talk, f"/environments/{place.id}"))["maintenance"] == "Back at noon"
    assert f"production runs {talk.first[:7]} (release 1) on one since {now():%Y-%m-%d}" in await talk.done(
        number, "/status"
    )
    assert (await ask(talk, f"/environments/{place.id}/maintenance", on=False))[0] == 202
    assert (await get(talk, f"/environments/{place.id}"))["maintenance"] == ""
    await talk.done(number, "/maintenance preview on")
    assert "nothing was ever deployed to nowhere" in await talk.refused(number, "/maintenance nowhere on")
    assert "say /maintenance" in await talk.refused(number, "/maintenance production maybe")
