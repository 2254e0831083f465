"""The port's contract, held by all providers over their real things."""

from __future__ import annotations

import asyncio

import pytest

from bot.fleet.scaling.containers import Containers
from bot.fleet.scaling.provider import Machine, ProviderDown
from config.errors import ConfigError
from config.pools import Pool
from tests.bot.fleet.scaling.conftest import (
    CONTAINERS,
    OfContainers,
    OfGroups,
    OfProcesses,
    Site,
    brought,
    newcomer,
    until,
)


async def test_who_is_brought_is_listed_and_reads_its_own_settings(site: Site) -> None:
    provider = site.provider()
    assert (await provider.list()).machines == ()

    machines = await brought(provider, "builders-1", "builders-2")

    assert {name: one.state for name, one in machines.items()} == {
        "builders-1": Machine.THERE,
        "builders-2": Machine.THERE,
    }
    assert {one.place for one in machines.values()} == set(provider.places)
    assert "whose = 'builders-1'" in site.told("builders-1")
    assert "whose = 'builders-2'" in site.told("builders-2")


async def test_another_bot_lists_the_same_and_ends_it(site: Site) -> None:
    await brought(site.provider(), "builders-1", "builders-2")

    after = site.provider()  # the first one was killed
    machines = {one.worker: one for one in (await after.list()).machines}
    await after.protect(machines.values())
    assert sorted(machines) == ["builders-1", "builders-2"]
    await after.end(machines["builders-1"])

    async with asyncio.timeout(120):
        while "builders-1" in machines:
            if machines["builders-1"].state is Machine.ENDED:
                await after.end(machines["builders-1"])  # what it left
            machines = {one.worker: one for one in (await after.list()).machines}
    assert list(machines) == ["builders-2"]


async def test_others_machines_are_none_of_its_own(site: Site) -> None:
    await brought(site.provider(), "builders-1")

    assert (await site.foreign().list()).machines == ()


async def test_a_name_comes_again_after_it_was_ended(site: Site) -> None:
    provider = site.provider()
    first = (await brought(provider, "builders-1"))["builders-1"]
    while (await provider.list()).machines:
        for one in (await provider.list()).machines:
            await provider.end(one)

    again = (await brought(provider, "builders-1"))["builders-1"]

    assert again.id != first.id
    assert again.state is Machine.THERE


@pytest.mark.parametrize("site", ["processes", CONTAINERS], indirect=True)
async def test_who_ends_by_itself_is_listed_with_its_last_words_until_it_is_cleaned_up(site: Site) -> None:
    provider = site.provider()
    await brought(provider, "builders-1")

    site.quit("builders-1")
    found = await until(provider, lambda found: found.machines[0].state is Machine.ENDED)

    assert found.machines[0].problem == "done"
    await provider.end(found.machines[0])
    assert (await provider.list()).machines == ()


async def test_a_process_has_its_settings_for_its_user_alone_and_loses_them_at_its_end(
    processes: OfProcesses,
) -> None:
    provider = processes.provider()
    machine = (await brought(provider, "builders-1"))["builders-1"]
    home = processes.folder / "builders" / "builders-1"
    assert (home / "worker.toml").stat().st_mode & 0o077 == 0

    while (await provider.list()).machines:
        await provider.end(machine)

    assert sorted(file.name for file in home.iterdir()) == ["log"]


async def test_a_process_that_heeds_no_signal_is_ended_all_the_same(
    processes: OfProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.fleet.scaling.processes._HURRY", 0.2)
    provider = processes.provider()
    provider._argv = ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.1; done"]  # type: ignore[attr-defined]
    machine = (await brought(provider, "builders-1"))["builders-1"]

    while (await provider.list()).machines:
        await provider.end(machine)


async def test_an_engine_that_does_not_answer_hides_nothing_of_the_others(containers: OfContainers) -> None:
    pool = Pool(name="builders", kind="containers", max=9, image=containers.image)
    both = Containers(pool, containers.instance, [containers.host, "tcp://127.0.0.1:1"])
    await containers.provider().bring([newcomer("builders-1", containers.provider())])

    found = await both.list()

    assert [one.worker for one in found.machines] == ["builders-1"]
    assert found.places == {both.places[0]}
    assert "tcp://127.0.0.1:1" in found.problem


async def test_an_engine_without_the_image_says_which_to_pull(containers: OfContainers) -> None:
    pool = Pool(name="builders", kind="containers", max=9, image="blacktree-test/none:1")
    provider = Containers(pool, containers.instance, [containers.host])

    with pytest.raises(ProviderDown, match="has no image blacktree-test/none:1: docker pull"):
        await provider.bring([newcomer("builders-1", provider)])


async def test_a_containers_settings_are_in_nothing_that_the_engine_shows(containers: OfContainers) -> None:
    await brought(containers.provider(), "builders-1")

    assert "whose" not in str(containers._of("builders-1").attrs)


async def test_a_group_is_raised_for_newcomers_and_lowered_with_who_goes(groups: OfGroups) -> None:
    provider = groups.provider()
    machines = await brought(provider, "builders-1", "builders-2", "builders-3")
    assert groups.group()["DesiredCapacity"] == 3

    await provider.end(machines["builders-2"])

    assert groups.group()["DesiredCapacity"] == 2
    left = {one["InstanceId"] for one in groups.group()["Instances"]}
    assert left == {machines["builders-1"].id, machines["builders-3"].id}


async def test_a_group_is_raised_once_whoever_asks_how_often(groups: OfGroups) -> None:
    for _ in range(3):
        provider = groups.provider()
        await provider.bring([newcomer("builders-1", provider)])

    assert groups.group()["DesiredCapacity"] == 1
    assert [one.worker for one in (await groups.provider().list()).machines] == ["builders-1"]


async def test_what_nobody_wants_any_more_is_not_asked_of_a_group_any_more(groups: OfGroups) -> None:
    provider = groups.provider()
    await brought(provider, "builders-1")
    groups.asg.suspend_processes(AutoScalingGroupName=groups.name, ScalingProcesses=["Launch"])
    await provider.bring([newcomer("builders-2", provider)])
    assert ((await provider.list()).coming, groups.group()["DesiredCapacity"]) == (1, 2)

    await provider.bring([])

    assert ((await provider.list()).coming, groups.group()["DesiredCapacity"]) == (0, 1)


async def test_instances_that_work_are_protected_and_their_parameters_go(groups: OfGroups) -> None:
    provider = groups.provider()
    machines = await brought(provider, "builders-1", "builders-2")
    await provider.list()

    await provider.protect([machines["builders-1"]])

    protected = {one["InstanceId"]: one["ProtectedFromScaleIn"] for one in groups.group()["Instances"]}
    assert protected == {machines["builders-1"].id: True, machines["builders-2"].id: False}
    assert groups.told("builders-1") == ""
    assert groups.told("builders-2") != ""


async def test_an_instance_that_aws_ends_is_held_until_its_worker_has_drained(
    groups: OfGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.fleet.scaling.ec2._HEARTBEAT", 0.0)
    groups.hook()
    provider = groups.provider()
    machine = (await brought(provider, "builders-1"))["builders-1"]

    groups.asg.terminate_instance_in_auto_scaling_group(
        InstanceId=machine.id, ShouldDecrementDesiredCapacity=True
    )
    (held,) = (await provider.list()).machines
    assert (held.worker, held.state) == ("builders-1", Machine.HELD)
    for _ in range(3):
        await provider.protect([held])
    assert groups.tags({"InstanceId": machine.id}) == ("builders-1", "3")

    await provider.end(held)

    assert (await provider.list()).machines == ()
    assert groups.group()["DesiredCapacity"] == 0


async def test_our_own_end_is_held_by_the_hook_and_let_go_at_the_next_look(groups: OfGroups) -> None:
    groups.hook()
    provider = groups.provider()
    machine = (await brought(provider, "builders-1"))["builders-1"]

    await provider.end(machine)
    (held,) = (await provider.list()).machines
    assert held.state is Machine.HELD
    await provider.end(held)

    assert (await provider.list()).machines == ()


async def test_a_group_that_is_not_there_is_named(groups: OfGroups) -> None:
    with pytest.raises(ProviderDown, match="there is no Auto Scaling group nowhere"):
        await groups.provider("nowhere").list()


@pytest.mark.parametrize("environ", [{}, {"DOCKER_TLS_VERIFY": ""}])
def test_an_engine_that_whoever_reaches_it_may_use_is_refused(environ: dict[str, str]) -> None:
    pool = Pool(name="boxes", kind="containers", max=1, image="worker")

    with pytest.raises(ConfigError, match=r"tcp://10\.0\.0\.7:2376 is a port that anyone may use"):
        Containers(pool, "1f00", ["unix:///var/run/docker.sock", "tcp://10.0.0.7:2376"], environ)
    Containers(pool, "1f00", ["tcp://10.0.0.7:2376"], {"DOCKER_TLS_VERIFY": "1"})
