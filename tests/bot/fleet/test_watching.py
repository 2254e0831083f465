"""What is done about what workers tell of their containers, and about workers that tell nothing any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from bot.decisions import quiet
from bot.fleet.claims import Claims
from bot.fleet.heartbeats import Heartbeats
from bot.fleet.requests import Requests
from bot.fleet.watching import Watcher
from bot.github.forge import GitHub
from bot.jobs import releases
from bot.jobs.dispatch import Dispatcher
from bot.outbox.troubles import turns, weighed
from bot.routing.proxy import Route
from bot.routing.router import Router
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store import causes
from bot.store.database import Store
from bot.store.outputs import Outputs
from bot.store.tables import (
    CommandRow,
    CommandState,
    ContainerRow,
    Environment,
    Happening,
    Image,
    Job,
    JobState,
    Pull,
    Release,
    ReleaseState,
    ReportKind,
    Run,
    WorkerRow,
)
from bot.sweeps import lost_releases
from config.settings import Settings
from tests.bot.conftest import NEW, OLD, REPOSITORY, Rows
from workers.contract.memory import MemoryQueue
from workers.contract.messages import (
    Claim,
    ContainerState,
    Grant,
    Heartbeat,
    HeartbeatAnswer,
    Kind,
    Refusal,
    StopSpec,
    now,
)

BOT = "127.0.0.1:8000"
REGISTRY = "registry.test/acme"
LEASE = 300.0  # longer than a test takes: only who is made `silent` is


@dataclass
class Signpost:
    """A proxy that only remembers where it was told to send people."""

    switches = True
    routes: list[Route] = field(default_factory=list)

    async def apply(self, routes: list[Route]) -> None:
        self.routes = routes

    async def check(self) -> str:
        return "a signpost"

    async def requests(self) -> dict[str, int]:
        return {}


@dataclass
class Watch:
    """A bot's parts that watch, and workers that are only their words."""

    rows: Rows
    store: Store
    queue: MemoryQueue
    proxy: Signpost
    settings: Settings
    watcher: Watcher
    requests: Requests

    async def place(self, name: str = "production", **columns: Any) -> Environment:
        async with self.store.transaction() as session:
            row = Environment(repository_id=REPOSITORY, name=name, url="http://10.0.0.1:1", **columns)
            session.add(row)
        return row

    async def serves(self, place: Environment, sha: str, **columns: Any) -> Release:
        """A release whose job has succeeded; it serves if nothing else is said."""
        run = await self.rows.run(sha)
        job = await self.rows.job(
            run,
            2,
            Kind.DEPLOY,
            place.name,
            state=JobState.SUCCEEDED,
            sentence="Live at http://10.0.0.1:1",
            spec=dict(columns.get("settings", {})),
            started_at=now(),
            ended_at=now() - timedelta(hours=1),
        )
        known: dict[str, Any] = {
            "environment_id": place.id,
            "run_id": run.id,
            "job_id": job.id,
            "sha": sha,
            "image": f"{REGISTRY}/shop@sha256:{sha}",
            "state": ReleaseState.LIVE,
            "attempt": 1,
            "worker": "one",
            "addresses": [f"10.0.0.{run.id}:80"],
            "live_at": now(),
            "settings": {},
        }
        async with self.store.transaction() as session:
            release = Release(**{**known, **columns})
            session.add(release)
            built: dict[str, Any] = {"tree": "t", "digest": "d", "size": 1, "reference": release.image}
            session.add(Image(repository_id=REPOSITORY, name="app", job_id=f"{run.id}-1", sha=sha, **built))
        return release

    async def beat(self, *containers: ContainerState, worker: str = "one", **more: Any) -> HeartbeatAnswer:
        beat = Heartbeat(
            worker=worker, instance="i", pool="default", slots=1, address="10.0.0.9", software="",
            containers=list(containers), **more,
        )  # fmt: skip
        answer = await self.requests.answer(beat)
        assert isinstance(answer, HeartbeatAnswer)
        return answer

    def told(self, release: Release, **columns: Any) -> ContainerState:
        name = f"{self.store.instance}.{release.id}.{release.attempt}"
        known = {"release": name, "environment": "production", "name": name, "running": True, "restarts": 0}
        return ContainerState(**{**known, **columns})

    async def again(self, release: Release) -> Release:
        async with self.store.reading() as session:
            return await session.get_one(Release, release.id)

    async def all(self, table: type[Any], *where: Any) -> list[Any]:
        async with self.store.reading() as session:
            return list((await session.exec(select(table).where(*where))).all())

    async def jobs_of(self, cause: str) -> list[Job]:
        runs = [run.id for run in await self.all(Run, Run.cause == cause)]
        return [job for job in await self.all(Job) if job.run_id in runs]

    async def last_said(self, kind: ReportKind) -> list[tuple[str, str]]:
        """State and description of the newest report of each key."""
        newest = {row.key: row.payload for row in await self.rows.reports(kind)}
        return [(one["state"], one.get("description", "")) for one in newest.values()]


@pytest.fixture
async def watch(store: Store, rows: Rows, tmp_path: Path) -> Watch:
    settings = Settings(data_dir=tmp_path, registry=REGISTRY, lease=LEASE)
    queue, proxy = MemoryQueue(), Signpost()
    queue.connected_at -= 3600
    secrets = Secrets(store, Vault(store, settings))
    router = Router(store, proxy, settings, secrets, BOT)
    await rows.run()
    return Watch(
        rows,
        store,
        queue,
        proxy,
        settings,
        Watcher(store, queue, router, settings),
        Requests(
            store,
            Claims(store, queue, cast(GitHub, None), router, secrets, settings),
            Heartbeats(store, settings),
            router,
            Outputs.of(settings),
            local=not settings.registry,
        ),
    )


def draining() -> dict[str, Any]:
    return {"state": ReleaseState.RETIRED, "remove_after": now() + timedelta(minutes=5)}


def proving() -> dict[str, Any]:
    return {"steady_at": now() + timedelta(minutes=5)}


async def test_a_release_that_restarts_right_after_its_switch_goes_back_by_itself(watch: Watch) -> None:
    place = await watch.place()
    old = await watch.serves(place, OLD, **draining())
    bad = await watch.serves(place, NEW, **proving())
    async with watch.store.transaction() as session:
        known: dict[str, Any] = {"repository_id": REPOSITORY, "pull_number": 7, "comment_id": 5, "sha": NEW}
        row: dict[str, Any] = {"line": "/deploy staging", "actor": "ada", "answer": "", "run_id": bad.run_id}
        session.add(CommandRow(**known, **row, state=CommandState.SUCCEEDED))

    await watch.beat(watch.told(old), watch.told(bad))
    await watch.watcher.look()
    assert (await watch.again(bad)).state is ReleaseState.LIVE, "it is well so far"
    await watch.beat(watch.told(old), watch.told(bad, restarts=3))
    await watch.watcher.look()

    old, bad = await watch.again(old), await watch.again(bad)
    assert (old.state, old.remove_after, bad.state) == (ReleaseState.LIVE, None, ReleaseState.FAILED)
    assert [list(route.upstreams) for route in watch.proxy.routes] == [old.addresses]
    said = f"Went live, then it restarted 3 times: rolled back to {OLD[:7]}"
    assert bad.problem == said
    assert await watch.last_said(ReportKind.STATUS) == [("failure", said)]
    assert ("failure", said) in await watch.last_said(ReportKind.DEPLOYMENT)
    assert ("success", "") in await watch.last_said(ReportKind.DEPLOYMENT)
    (command,) = await watch.all(CommandRow)
    assert (command.state, command.answer) == (CommandState.FAILED, said)
    (job,) = await watch.all(Job, Job.id == bad.job_id)
    assert job.state is JobState.SUCCEEDED, "it did what it had to"
    assert ("deploy", said) in [
        (one.about["kind"], one.about["problem"]) for one in await watch.all(Happening)
    ]


async def test_a_release_whose_probe_fails_in_its_stability_window_goes_back_by_itself(watch: Watch) -> None:
    place = await watch.place()
    old = await watch.serves(place, OLD, **draining())
    bad = await watch.serves(place, NEW, **proving())
    told = [watch.told(old), watch.told(bad)]

    assert (await watch.beat(*told)).proving == [told[1].release], "its worker is told to probe it"
    await watch.beat(told[0], watch.told(bad, failing="GET / answered 500"))
    await watch.watcher.look()

    old, bad = await watch.again(old), await watch.again(bad)
    assert (old.state, bad.state) == (ReleaseState.LIVE, ReleaseState.FAILED)
    said = f"Went live, then its health check fails: GET / answered 500: rolled back to {OLD[:7]}"
    assert await watch.last_said(ReportKind.STATUS) == [("failure", said)]
    assert (await watch.beat(*told)).proving == [], "the old one has proven itself long ago"


@pytest.mark.parametrize("removed", [{"remove_after": now()}, {}], ids=["it has drained", "it had to go"])
async def test_where_the_old_one_was_stopped_already_it_is_deployed_again(
    watch: Watch, removed: dict[str, Any]
) -> None:
    """As with a host port, which only one of them can have."""
    place = await watch.place()
    old = await watch.serves(place, OLD, **{**draining(), **removed}, settings={"port": 1})
    bad = await watch.serves(place, NEW, **proving())

    await watch.beat(watch.told(bad, running=False, exit_code=1))
    for _ in range(2):
        await watch.watcher.look()

    bad = await watch.again(bad)
    assert (bad.state, bad.problem) == (
        ReleaseState.LIVE,
        f"Went live, then it ended with exit code 1: {OLD[:7]} is being brought back",
    )
    (job,) = await watch.jobs_of(causes.CRASHED)
    assert (job.sha, job.spec["image_reference"], job.spec["port"]) == (OLD, old.image, 1)
    await Dispatcher(watch.store, watch.queue, 10)._admit()
    assert (await watch.rows.again(job)).state is JobState.QUEUED, "the bad one does not outdate it"


async def test_where_there_is_no_old_one_it_is_only_told_and_told_again_when_it_is_well(watch: Watch) -> None:
    place = await watch.place()
    bad = await watch.serves(place, NEW, **proving())

    await watch.beat(watch.told(bad, restarts=1))
    await watch.watcher.look()

    said = "Went live, then it restarted 1 time; there is no earlier release to go back to"
    assert (await watch.again(bad)).problem == said
    assert (await watch.again(bad)).state is ReleaseState.LIVE
    assert await watch.last_said(ReportKind.STATUS) == [("failure", said)]
    async with watch.store.transaction() as session:
        long_ago = now() - timedelta(hours=1)
        await session.exec(update(ContainerRow).values(restarted_at=long_ago))
        await session.exec(update(Release).values(steady_at=long_ago))
    await watch.watcher.look()

    assert (await watch.again(bad)).problem == ""
    assert await watch.last_said(ReportKind.STATUS) == [("success", "Live at http://10.0.0.1:1")]
    assert await watch.last_said(ReportKind.DEPLOYMENT) == [("success", "")]


async def test_a_worker_speaks_for_no_other_workers_containers(watch: Watch) -> None:
    live = await watch.serves(await watch.place(), NEW, **proving())
    await watch.beat(watch.told(live))

    await watch.beat(watch.told(live, running=False, exit_code=1, name="x"), worker="two")
    await watch.beat(watch.told(live, address="10.0.0.9:22002"), worker="two")
    await watch.watcher.look()

    live = await watch.again(live)
    assert (live.state, live.problem) == (ReleaseState.LIVE, "")
    assert "10.0.0.9:22002" not in live.addresses
    assert [row.worker for row in await watch.all(ContainerRow)] == ["one"]


@pytest.mark.parametrize(
    ("told", "followed"),
    [
        ("10.0.0.9:22002", True),
        ("10.0.0.8:22002", False),
        ("127.0.0.1:22002", False),
        ("10.0.0.9:2019", False),
        ("unix//var/run/docker.sock", False),
    ],
)
async def test_a_route_follows_containers_to_their_workers_own_address_only(
    watch: Watch, told: str, followed: bool
) -> None:
    live = await watch.serves(await watch.place(), NEW)

    await watch.beat(watch.told(live, address=told))

    assert ((await watch.again(live)).addresses == [told]) is followed


async def test_a_crash_later_on_is_told_once_and_cleared_and_rolls_nothing_back(watch: Watch) -> None:
    place = await watch.place("pr-7", pull_number=7)
    async with watch.store.transaction() as session:
        session.add(Pull(repository_id=REPOSITORY, number=7, head_sha=NEW, head_ref="f"))
    live = await watch.serves(place, NEW)

    await watch.beat(watch.told(live))
    for exit_code in (137, 137, 1):
        state = watch.told(live, running=False, exit_code=exit_code, out_of_memory=exit_code == 137)
        await watch.beat(state)
        await watch.watcher.look()

    assert (await watch.again(live)).problem == "it ended with exit code 1"
    told = [row.payload for row in await watch.rows.reports(ReportKind.DEPLOYMENT)]
    assert [one["description"] for one in told] == ["it ran out of memory: raise limits.memory"]
    assert [row.payload for row in await watch.rows.reports(ReportKind.COMMENT)] == [{"number": 7}]
    await watch.beat(watch.told(live))
    await watch.watcher.look()
    assert (await watch.again(live)).problem == ""
    assert await watch.last_said(ReportKind.DEPLOYMENT) == [("success", "")]
    about = [row.about for row in sorted(await watch.all(Happening), key=lambda row: row.id or 0)]
    news, _ = weighed([turn for one in about for turn in turns("turn", one)], set())
    assert [(one.event, one.turn.environment) for one in news] == [
        ("crash", "pr-7"),
        ("crash.recovered", "pr-7"),
    ]


async def test_containers_are_written_where_something_changed_and_go_with_their_release(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(place, NEW)
    stranger = ContainerState(release="other.1.1", environment="x", name="x", running=True, restarts=0)

    await watch.beat(watch.told(live), stranger)
    (first,) = await watch.all(ContainerRow)
    await watch.beat(watch.told(live), stranger)
    assert await watch.all(ContainerRow) == [first]

    await watch.beat()
    assert await watch.all(ContainerRow) == [first], "a worker that has just started may not know yet"
    async with watch.store.transaction() as session:
        await session.exec(update(WorkerRow).values(started_at=now() - timedelta(minutes=1)))
    await watch.beat()
    (gone,) = await watch.all(ContainerRow)
    assert (gone.running, gone.health) == (False, "gone")
    async with watch.store.transaction() as session:
        await session.exec(update(Release).values(state=ReleaseState.RETIRED, remove_after=now()))
    await watch.beat()
    assert await watch.all(ContainerRow) == []


async def silent(watch: Watch, worker: str) -> None:
    async with watch.store.transaction() as session:
        past = now() - timedelta(seconds=2 * LEASE)
        here = update(WorkerRow).where(col(WorkerRow.name) == worker)
        await session.exec(here.values(seen_at=past, started_at=past))


@pytest.mark.parametrize("why", ["its worker is gone", "its containers were removed"])
async def test_a_lost_release_is_started_again_as_it_was_and_once(watch: Watch, why: str) -> None:
    place = await watch.place()
    live = await watch.serves(place, OLD, settings={"port": 1}, deployment_id=77, actor="ada", why="push")
    await watch.beat(watch.told(live))
    await watch.beat(worker="two")
    await silent(watch, "one")
    if why != "its worker is gone":
        await watch.beat()

    for _ in range(2):
        await lost_releases.sweep(watch.store, watch.queue, watch.settings)
        await watch.watcher.look()

    (job,) = await watch.jobs_of(causes.LOST)
    assert (job.kind, job.sha, job.context, job.pool) == (Kind.DEPLOY, OLD, "", "default")
    expected = "another worker starts it" if why == "its worker is gone" else "was removed by somebody"
    assert expected in (await watch.again(live)).problem
    async with watch.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        row.state, row.worker, row.attempt = JobState.RUNNING, "two", 1
        fresh = await releases.of(session, row)
    assert (fresh.image, fresh.settings, fresh.run_id) == (live.image, live.settings, live.run_id)
    assert (fresh.deployment_id, fresh.actor, fresh.why) == (77, "ada", "push")


@pytest.mark.parametrize("local", [True, False])
async def test_what_can_not_move_waits_for_its_worker_and_says_why(watch: Watch, local: bool) -> None:
    settings = watch.settings.model_copy(update={"registry": "" if local else REGISTRY})
    place = await watch.place()
    live = await watch.serves(place, OLD, settings={} if local else {"volumes": {"data": "/data"}})
    await watch.beat(watch.told(live))
    await watch.beat(worker="two")
    await silent(watch, "one")
    watcher = Watcher(watch.store, watch.queue, cast(Router, None), settings)

    await lost_releases.sweep(watch.store, watch.queue, settings)
    await watcher.look()

    assert await watch.jobs_of(causes.LOST) == []
    said = (await watch.again(live)).problem
    assert ("its image is only there" if local else "its volumes are there") in said
    await watch.beat(watch.told(live))
    await watcher.look()
    assert (await watch.again(live)).problem == ""


def claim(job: Job, worker: str) -> Claim:
    return Claim(job=job.id, worker=worker, instance="i", nonce=worker, public_key="00" * 32)


async def test_a_deploy_with_volumes_is_only_given_to_the_worker_that_has_them(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(place, OLD, state=ReleaseState.RETIRED, remove_after=now())
    spec = {"volumes": {"data": "/data"}, "image_reference": live.image}
    job = await watch.rows.job(await watch.rows.run(NEW), 1, Kind.DEPLOY, "production", spec=spec)
    async with watch.store.transaction() as session:
        (await session.get_one(Job, job.id)).state = JobState.QUEUED
    await watch.beat()
    await watch.beat(worker="two")

    answer = await watch.requests.answer(claim(job, "two"))
    assert isinstance(answer, Refusal)
    assert answer.reason == "its volumes are at one"
    assert (await watch.rows.again(job)).sentence == "", "it goes there in a moment"
    await silent(watch, "one")
    await watch.requests.answer(claim(job, "two"))
    assert await watch.last_said(ReportKind.STATUS) == [
        ("pending", "Waits for worker one: its volumes are there")
    ]


async def test_of_waiting_deploys_the_newest_goes_on_and_the_others_say_by_which_commit(watch: Watch) -> None:
    async def deploy(sha: str, **columns: Any) -> Job:
        run = await watch.rows.run(sha, f"refs/pull/{len(sha)}/head")
        return await watch.rows.job(run, 1, Kind.DEPLOY, **{"name": "staging", **columns})

    running = await deploy("3" * 40, state=JobState.RUNNING)
    older, newer = await deploy(OLD), await deploy(NEW)
    unbuilt = await watch.rows.job(await watch.rows.run("4" * 40), 1, state=JobState.RUNNING)
    building = await deploy("4" * 40, needs=[unbuilt.id])
    queue = await deploy(OLD, name="queue", spec={"queues": True})
    other = await deploy(NEW, name="queue", spec={"queues": True})

    await Dispatcher(watch.store, watch.queue, 10)._admit()

    states = [(await watch.rows.again(job)).state for job in (running, older, newer, building)]
    waiting = JobState.WAITING
    assert states == [JobState.RUNNING, JobState.CANCELLED, waiting, waiting]
    assert (await watch.rows.again(older)).sentence == f"Superseded by {NEW[:7]}"
    assert [(await watch.rows.again(job)).state for job in (queue, other)] == [JobState.QUEUED, waiting]


async def test_a_sleeping_preview_keeps_its_place_and_is_woken_once(watch: Watch) -> None:
    place = await watch.place("pr-7", pull_number=7, port=20001)
    async with watch.store.transaction() as session:
        session.add(Pull(repository_id=REPOSITORY, number=7, head_sha=OLD, head_ref="f"))
    assert place.id is not None
    live = await watch.serves(place, OLD, deployment_id=77, settings={"port": 1})
    async with watch.store.transaction() as session:
        assert await quiet.sleep(session, await session.get_one(Environment, place.id), live)
        assert await quiet.sleep(session, await session.get_one(Environment, place.id), live) is None
    (stop,) = await watch.jobs_of(causes.SLEEP)
    await quiet.wake(watch.store, place.id)
    assert await watch.jobs_of(causes.WAKE) == [], "it is awake still"

    async with watch.store.transaction() as session:
        (await session.get_one(Job, stop.id)).state = JobState.QUEUED
    await watch.beat()
    key = "c4" * 32
    answer = await watch.requests.answer(claim(stop, "one").model_copy(update={"public_key": key}))

    assert isinstance(answer, Grant)
    assert isinstance(answer.spec, StopSpec)
    (asleep,) = await watch.all(Environment)
    assert (asleep.asleep, asleep.stopped) == (True, False)
    assert [route.upstreams for route in watch.proxy.routes] == [(BOT,)], "which shows a page"
    assert await watch.rows.reports(ReportKind.DEPLOYMENT) == [], "to GitHub it is still there"
    async with watch.store.transaction() as session:
        (await session.get_one(Job, stop.id)).state = JobState.SUCCEEDED

    for _ in range(2):
        await quiet.wake(watch.store, place.id)

    (job,) = await watch.jobs_of(causes.WAKE)
    assert (job.environment, job.context, job.spec["continues"]) == ("pr-7", "", live.id)
    assert await watch.rows.reports(ReportKind.STATUS) == []
