"""A release's processes, as its worker tells of them: which one suffers, where each is, what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from bot.fleet.stability import ailing
from bot.reports import texts
from bot.store import causes
from bot.store.tables import ContainerRow, Release, ReleaseState
from tests.bot.conftest import NEW, OLD
from tests.bot.fleet import test_watching
from tests.bot.fleet.test_watching import Watch, draining, proving

watch = test_watching.watch  # a fixture


def row(name: str, process: str = "web", **columns: Any) -> ContainerRow:
    known: dict[str, Any] = {"worker": "one", "release_id": 1, "running": True}
    return ContainerRow(**{**known, "name": name, "process": process, **columns})


def settings(*, overlap: bool = True) -> dict[str, Any]:
    process = {"served": True, "domain": None, "path": "", "overlap": True, "replicas": 1}
    worker = {**process, "served": False, "overlap": overlap, "replicas": 2}
    return {"processes": {"web": process, "api": {**process, "path": "/api"}, "worker": worker}}


def test_what_suffers_is_told_with_the_name_of_its_process() -> None:
    well = [row("a"), row("b", "worker")]
    assert not ailing(well, None)
    ended = row("c", "worker", running=False, exit_code=1)
    assert ailing([*well, ended], None) == "1 of 3 containers (worker): it ended with exit code 1"
    both = [*well, ended, row("d", "api", restarts=2)]
    assert ailing(both, None) == "2 of 4 containers (api, worker): it ended with exit code 1"
    assert ailing([row("a"), row("b", running=False)], None) == "1 of 2 containers: it ended with exit code 0"


async def test_the_route_of_each_process_follows_its_own_containers(watch: Watch) -> None:
    place = await watch.place()
    live = await watch.serves(
        place, NEW, addresses=["10.0.0.9:22000"], settings=settings(),
        further={"api": ["10.0.0.9:22001", "10.0.0.9:22002"]},
    )  # fmt: skip
    told = [
        watch.told(live, name="a", process="web", address="10.0.0.9:22003"),
        watch.told(live, name="b", process="api", address="10.0.0.9:22001"),
        watch.told(live, name="c", process="api", address="10.0.0.9:22004"),
        watch.told(live, name="d", process="worker"),
    ]

    await watch.beat(*told)

    live = await watch.again(live)
    assert live.addresses == ["10.0.0.9:22003"]
    assert live.further == {"api": ["10.0.0.9:22001", "10.0.0.9:22004"]}
    containers = await watch.all(ContainerRow)
    assert sorted((one.name, one.process) for one in containers) == [
        ("a", "web"), ("b", "api"), ("c", "api"), ("d", "worker"),
    ]  # fmt: skip
    assert texts.running(live, containers) == "web 1 of 1, api 2 of 1, worker 1 of 2"
    assert ": web 1 of 1, api 2 of 1, worker 1 of 2" in texts.place_line(place, live, containers)


@pytest.mark.parametrize("overlap", [True, False])
async def test_a_release_of_which_a_process_ended_for_its_successor_is_deployed_again(
    watch: Watch, overlap: bool
) -> None:
    place = await watch.place()
    old = await watch.serves(place, OLD, **draining(), settings=settings(overlap=overlap))
    bad = await watch.serves(place, NEW, **proving(), settings=settings(overlap=overlap))

    await watch.beat(
        watch.told(old, name="a"), watch.told(bad, name="b"),
        watch.told(bad, name="c", process="worker", restarts=1),
    )  # fmt: skip
    await watch.watcher.look()

    old, bad = await watch.again(old), await watch.again(bad)
    assert bad.problem.startswith("Went live, then 1 of 2 containers (worker): it restarted 1 time")
    assert bad.problem.endswith(f"{OLD[:7]}" if overlap else f"{OLD[:7]} is being brought back")
    assert old.state is (ReleaseState.LIVE if overlap else ReleaseState.RETIRED)
    assert len(await watch.jobs_of(causes.CRASHED)) == (0 if overlap else 1)


def test_a_release_without_processes_is_told_as_ever() -> None:
    release = Release(id=1, environment_id=1, run_id=1, job_id="1-2", sha=NEW, image="i", settings={})
    assert texts.running(release, [row("a")]) == ""
    assert texts.deployed("") == "Live"
