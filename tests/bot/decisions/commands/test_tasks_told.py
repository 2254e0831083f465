"""`/run` and its twin in the API: which tasks there are, where they run, who may, what is said at the end."""

from __future__ import annotations

from typing import Any

from sqlmodel import col, select

from bot.store.tables import CommandState, Environment, Job, JobState, Release, ReleaseState, Run
from tests.bot.decisions.commands.test_promotions_told import live
from tests.bot.talk import Talk
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Claim, Failed, Fault, Finished, Grant, Heartbeat, Kind, TaskSpec, now
from workers.contract.seal import Keys

FILE = """
environments:
  production:
    secrets: [TOKEN]
    env: {COLOUR: green}
    processes: {web: , worker: {command: ./work, env: {ROLE: worker}}}
    tasks:
      nightly: {cron: "0 3 * * *", command: [./clean, up], timeout: 10m}
      report: {command: ./report, process: worker}
  guarded: {branches: [guarded], deployers: [grace], tasks: {seal: ./seal}}
  preview: {tasks: {seed: ./seed}}
"""


async def main_is_live(talk: Talk) -> int:
    """production runs main's first commit; the environment's id."""
    await talk.push({"a": "0"})
    await talk.until_run("push")
    await live(talk, "production", (await talk.runs())[-1].sha)
    async with talk.store.reading() as session:
        places = await session.exec(select(Environment).where(Environment.name == "production"))
        return places.one().id or 0


async def newest(talk: Talk) -> Job:
    mine = select(Job).where(Job.kind == Kind.TASK).order_by(col(Job.created_at).desc())
    found: list[Job] = await talk._all(mine)
    return found[0]


async def granted(queue: MemoryQueue, job: str) -> Grant:
    answer = await queue.request(
        Claim(job=job, worker="w", instance="i", nonce=job, public_key=Keys().public), 60
    )
    assert isinstance(answer, Grant), answer
    return answer


async def offered(talk: Talk) -> Job:
    """The newest task, once its pool has it."""

    async def there() -> bool:
        return (await newest(talk)).offered_at is not None

    await talk._until(there)
    return await newest(talk)


async def lives_at(talk: Talk, worker: str) -> None:
    """What is live has a worker, with room for more."""
    beat = Heartbeat(worker=worker, instance="i", pool="default", slots=9, address="127.0.0.1", software="")
    await talk.queue.request(beat, 60)
    async with talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.worker = worker


async def test_a_task_runs_in_what_is_live_and_its_end_is_the_commands_answer(talk: Talk) -> None:
    await main_is_live(talk)
    await lives_at(talk, "w")
    number, head = await talk.open_pull({"a": "1"})

    comment = await talk.accepted(number, "/run nightly")
    job = await offered(talk)
    grant = await granted(talk.queue, job.id)
    failure = Failed(
        fault=Fault.USER, reason="task_failed", sentence="nightly ended with exit code 3", exit_code=3
    )
    await talk.queue.tell(Finished(job=job.id, attempt=1, at=now(), result=failure, steps=[]))

    await talk.github.until(lambda: "confused" in talk.reactions(comment))
    row = (await talk.commands())[-1]
    assert (row.state, row.answer) == (
        CommandState.FAILED,
        "nightly failed: nightly ended with exit code 3",
    )
    assert (job.environment, job.sha != head, job.context) == ("production", True, "")
    spec = grant.spec
    assert isinstance(spec, TaskSpec)
    assert (spec.command, spec.timeout, spec.process) == (["./clean", "up"], 600, "")
    assert spec.release.env["COLOUR"] == "green"
    await talk.shown(number, "nightly ended with exit code 3")
    assert f"`{head[:7]}`" in talk.living_comment(number)  # what it says of the head stays


REFUSED = {
    "/run": "say /run <task> [environment]",
    "/run nihgtly": "there is no task nihgtly. Did you mean nightly?",
    "/run seald production": "production has no task seald. It has nightly, report.",
    "/run nightly elsewhere": "nothing was ever deployed to elsewhere: deploy it first",
    "/run nightly pr-99": "pr-99 is another pull request's: say it there",
    "/run seed preview": "nothing was ever deployed to pr-1: deploy it first",
}


async def test_what_the_default_branchs_file_does_not_name_is_refused_with_the_nearest(talk: Talk) -> None:
    await main_is_live(talk)
    evil = "environments: {production: {tasks: {nihgtly: ./evil}}}"
    number, _ = await talk.open_pull({".blacktree.yml": evil})

    assert {said: await talk.refused(number, said) for said in REFUSED} == REFUSED


async def test_who_may_not_deploy_there_may_run_nothing_there(talk: Talk) -> None:
    await main_is_live(talk)
    await talk.work.checkout("guarded", create=True)
    sha = await talk.push({"b": "1"}, "guarded")
    async with talk.store.transaction() as session:
        place = Environment(repository_id=talk.repository.id, name="guarded")
        session.add(place)
        await session.flush()
        release: dict[str, Any] = {
            "environment_id": place.id,
            "run_id": 1,
            "job_id": "x",
            "sha": sha,
            "image": "i",
        }
        settings = {"tasks": {"seal": {"command": ["./seal"]}}, "deployers": []}
        session.add(Release(**release, settings=settings, state=ReleaseState.LIVE, live_at=now()))
    number, _ = await talk.open_pull({"a": "1"})
    grace, eve = talk.github.user("grace"), talk.github.user("eve")
    talk.repository.collaborators |= {"grace": "write", "eve": "read"}

    assert "deployers: ada may not deploy here; one of grace may" in await talk.refused(number, "/run seal")
    assert "needs write access" in await talk.refused(number, "/run nightly production", eve)
    await talk.done(number, "/lock production mine", grace)
    assert "lock: production is locked by grace" in await talk.refused(number, "/run nightly production")
    assert await talk._all(select(Job).where(Job.kind == Kind.TASK)) == []


async def test_the_api_runs_a_task_once_for_a_key_and_lists_how_it_ended(talk: Talk) -> None:
    place = await main_is_live(talk)
    path, key = f"/environments/{place}/tasks/nightly/runs", {"idempotency-key": "k"}

    first = await talk.api.post(path, headers=key, json={"actor": "ada"})
    assert first.status_code == 202, first.text
    again = await talk.api.post(path, json={})
    assert (again.status_code, "nightly has not ended yet" in again.text) == (422, True)
    repeated = await talk.api.post(path, headers=key, json={"actor": "ada"})
    assert (repeated.status_code, repeated.json()["run"]) == (202, first.json()["run"])
    async with talk.store.transaction() as session:
        job = await session.get_one(Job, (await newest(talk)).id)
        job.state, job.sentence, job.exit_code = JobState.FAILED, "nightly ended with exit code 3", 3

    listed = (await talk.api.get(f"/environments/{place}/tasks")).json()
    nightly, report = listed["tasks"]
    assert listed["problem"] == ""
    assert (nightly["name"], nightly["command"], nightly["cron"]) == (
        "nightly",
        ["./clean", "up"],
        "0 3 * * *",
    )
    assert nightly["next_at"].endswith("T03:00:00+00:00")
    assert (nightly["last"]["state"], nightly["last"]["exit_code"], nightly["last"]["actor"]) == (
        "failed",
        3,
        "ada",
    )
    assert (report["last"], report["next_at"], report["skipped"]) == (None, None, None)
    history = (await talk.api.get(path)).json()
    assert [(one["run_id"], one["cause"]) for one in history] == [(first.json()["run"], "api run")]
    shown = (await talk.api.get(f"/jobs/{history[0]['id']}")).json()
    assert (shown["kind"], shown["exit_code"]) == ("task", 3)


async def test_an_environment_that_sleeps_runs_nothing_and_says_so(talk: Talk) -> None:
    place = await main_is_live(talk)
    await _rests(talk, asleep=True)

    answer = await talk.api.post(f"/environments/{place}/tasks/nightly/runs", json={})

    told = "production sleeps: wake it with a visit, then say it again"
    assert (answer.status_code, answer.json()["message"]) == (422, told)
    listed = (await talk.api.get(f"/environments/{place}/tasks")).json()
    assert (listed["problem"], [task["name"] for task in listed["tasks"]]) == (told, ["nightly", "report"])


async def test_what_was_stopped_before_a_worker_asked_is_not_run_and_says_why(talk: Talk) -> None:
    place = await main_is_live(talk)
    await lives_at(talk, "w")
    await talk.api.post(f"/environments/{place}/tasks/nightly/runs", json={})
    job = await offered(talk)
    await _rests(talk, stopped=True)

    keys = Keys()
    await talk.queue.request(
        Claim(job=job.id, worker="w", instance="i", nonce="n", public_key=keys.public), 60
    )

    ended = await newest(talk)
    assert (ended.state, ended.reason) == (JobState.FAILED, "not_live")
    assert ended.sentence == "Not run: production is stopped: deploy it first"


async def test_a_stop_ends_the_tasks_of_its_environment_and_status_tells_how_each_ended(talk: Talk) -> None:
    place = await main_is_live(talk)
    await lives_at(talk, "w")
    await talk.api.post(f"/environments/{place}/tasks/nightly/runs", json={})
    await granted(talk.queue, (await offered(talk)).id)

    answer = await talk.api.post(f"/environments/{place}/stop", json={})
    assert answer.status_code == 202, answer.text

    job = await newest(talk)
    assert (job.state, job.cancelling) == (JobState.RUNNING, "Cancelled: production is being stopped")
    cancelled = await talk.api.post(f"/jobs/{job.id}/cancel")
    assert (cancelled.status_code, (await newest(talk)).cancelling) == (202, "Cancelled by api")
    number, _ = await talk.open_pull({"a": "1"})
    assert "task nightly of production running at" in await talk.done(number, "/status")


async def test_cancel_ends_what_a_pull_requests_run_began(talk: Talk) -> None:
    await main_is_live(talk)
    number, _ = await talk.open_pull({"a": "1"})
    await talk.accepted(number, "/run nightly")

    await talk.say(number, "/cancel")

    assert (await newest(talk)).state is JobState.CANCELLED


async def test_a_task_of_the_preview_goes_before_anothers(talk: Talk) -> None:
    await main_is_live(talk)
    number, sha = await talk.open_pull({"a": "1"})
    await live(talk, f"pr-{number}", sha)

    await talk.accepted(number, "/run seed")

    job = await newest(talk)
    async with talk.store.reading() as session:
        run = await session.get_one(Run, job.run_id)
    assert (job.environment, run.ref, run.sha) == (f"pr-{number}", f"environment/pr-{number}", sha)


async def _rests(talk: Talk, **columns: Any) -> None:
    async with talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.state = ReleaseState.RETIRED
        for place in (await session.exec(select(Environment).where(Environment.name == "production"))).all():
            for name, value in columns.items():
                setattr(place, name, value)
