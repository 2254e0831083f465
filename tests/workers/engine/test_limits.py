"""What holds builds to their limits, on this machine's own control groups where it has them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings
from workers.engine.arguments import Kind, Way
from workers.engine.buildkit import limits_of
from workers.engine.cgroups import Limit, Tree, tree
from workers.engine.limits import ByArguments, OneGroup, OwnGroups, own_limit, said, slice_made, within

_MIB = 2**20
_EAT = "import sys; open(sys.argv[1] + '/cgroup.procs', 'w').write('0'); x = b'x' * int(sys.argv[2])"


@pytest.fixture
def groups() -> Tree:
    """The groups that this process may make, of whichever version limits memory here."""
    for version in (1, 2):
        found = tree(version)
        name = f"blacktree-test-{secrets.token_hex(4)}"
        if found is not None:
            try:
                found.make(name)
                found.check(name)
            except OSError:
                continue
            finally:
                found.remove(name)
            return found
    pytest.skip("this process may not make control groups")


@pytest.fixture
def prefix(groups: Tree) -> Iterator[str]:
    prefix = f"blacktree-test-{secrets.token_hex(4)}-"
    yield prefix
    for name in groups.named(prefix):
        groups.remove(name)


def eat(groups: Tree, path: str, size: int) -> int:
    """The exit code of a process in that group that takes so much memory."""
    folder = str(groups.mounts["" if groups.version == 2 else "memory"] / path)
    return subprocess.run([sys.executable, "-c", _EAT, folder, str(size)], check=False).returncode


async def test_a_build_has_a_group_of_its_own_that_tells_when_its_memory_is_used_up(
    groups: Tree, prefix: str
) -> None:
    own = OwnGroups(groups, prefix)
    async with own.held(Limit(48 * _MIB, 0.5)) as held:
        (argument,) = held.arguments
        path = argument.removeprefix("--cgroup-parent=/")
        groups.make(f"{path}/buildkit/x")  # as BuildKit does
        assert eat(groups, f"{path}/buildkit/x", 4 * _MIB) == 0
        assert not held.out_of_memory()
        assert eat(groups, f"{path}/buildkit/x", 200 * _MIB) == -9
        assert held.out_of_memory()
        assert held.out_of_memory()
    assert groups.named(prefix) == []


async def test_a_group_goes_with_what_still_runs_in_it(groups: Tree, prefix: str) -> None:
    own = OwnGroups(groups, prefix)
    async with own.held(Limit(48 * _MIB)) as held:
        path = held.arguments[0].removeprefix("--cgroup-parent=/")
        groups.make(f"{path}/buildkit/x")
        folder = groups.mounts["" if groups.version == 2 else "memory"] / path / "buildkit" / "x"
        running = _sleeping()
        (folder / "cgroup.procs").write_text(str(running.pid))
    assert running.wait(60) == -9
    assert groups.named(prefix) == []


async def test_what_a_killed_worker_left_is_swept(groups: Tree, prefix: str) -> None:
    groups.make(f"{prefix}old/buildkit/x")
    await OwnGroups(groups, prefix).sweep()
    assert groups.named(prefix) == []


async def test_builds_in_one_group_share_the_sum_of_their_limits(groups: Tree, prefix: str) -> None:
    path = f"{prefix}docker/buildkit"
    groups.make(path)
    one = OneGroup(groups, path)
    async with one.held(Limit(48 * _MIB, 1)) as first:
        assert _limits(groups, path) == (48 * _MIB, "100000")
        async with one.held(Limit(32 * _MIB, 0.5)) as second:
            assert _limits(groups, path) == (80 * _MIB, "150000")
            assert eat(groups, path, 200 * _MIB) == -9
            assert not first.out_of_memory()  # it may have been the other's
            assert not second.out_of_memory()
        assert _limits(groups, path) == (48 * _MIB, "100000")
    async with one.held(Limit(48 * _MIB, None)) as third:
        assert eat(groups, path, 200 * _MIB) == -9
        assert third.out_of_memory()
    memory, cpus = _limits(groups, path)
    assert memory is None or memory > 2**60
    assert cpus in ("-1", "max")


def _sleeping() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "600"])


def _limits(groups: Tree, path: str) -> tuple[int | None, str]:
    if groups.version == 2:
        folder = groups.mounts[""] / path
        memory = (folder / "memory.max").read_text().strip()
        return None if memory == "max" else int(memory), (folder / "cpu.max").read_text().split()[0]
    memory = (groups.mounts["memory"] / path / "memory.limit_in_bytes").read_text()
    return int(memory), (groups.mounts["cpu"] / path / "cpu.cfs_quota_us").read_text().strip()


def test_version_two_is_told_in_its_own_files(tmp_path: Path) -> None:
    groups = Tree(2, {"": tmp_path})
    groups.make("a/b")
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    assert (tmp_path / "a" / "cgroup.subtree_control").exists()
    for limit, files in (
        (Limit(1000, 1.5), ("1000", "150000 100000", "0")),
        (Limit(), ("max", "max 100000", "max")),
    ):
        groups.limit("a/b", limit)
        names = ("memory.max", "cpu.max", "memory.swap.max")
        assert tuple((tmp_path / "a" / "b" / name).read_text() for name in names) == files
    (tmp_path / "a" / "b" / "memory.events").write_text("oom 3\noom_kill 1\n")
    with groups.watched("a/b") as ran_out:
        assert not ran_out()
        (tmp_path / "a" / "b" / "memory.events").write_text("oom 4\noom_kill 2\n")
        assert ran_out()


async def test_the_classic_builder_is_told_by_arguments() -> None:
    async with ByArguments().held(Limit(1000, 1.5)) as held:
        assert held.arguments == ["--memory=1000", "--cpus=1.5"]
    async with ByArguments().held(Limit()) as held:
        assert held.arguments == []


_HERE = {"endpoint": "unix:///x", "KernelVersion": os.uname().release, "CgroupVersion": "1"}
_OLD = {**_HERE, "ServerVersion": "20.10.24"}


@pytest.mark.parametrize(
    ("way", "facts", "enforced", "words"),
    [
        (Way(Kind.CLASSIC, [], ""), {}, True, "on each step's container"),
        (Way(Kind.BUILDX, [], "", loads=False), _HERE, False, "--driver-opt memory="),
        (Way(Kind.BUILDX, [], ""), {**_HERE, "endpoint": "tcp://10.0.0.1"}, False, "on another machine"),
        (Way(Kind.BUILDX, [], ""), {**_HERE, "KernelVersion": "5.15-linuxkit"}, False, "on another machine"),
        (Way(Kind.OWN, [], ""), {}, False, "on another machine"),
        (Way(Kind.OWN, [], ""), {**_OLD, "CgroupDriver": "cgroupfs"}, True, "on all builds together"),
        (Way(Kind.OWN, [], ""), {**_OLD, "CgroupDriver": "systemd"}, False, "install Docker 23 or newer"),
        (Way(Kind.BUILDX, [], ""), {**_HERE, "ServerVersion": "26.1.5"}, True, "on each build"),
    ],
)
async def test_what_enforces_limits_is_said_or_what_to_do(
    groups: Tree, prefix: str, way: Way, facts: dict[str, str], enforced: bool, words: str
) -> None:
    here = {**facts, "CgroupVersion": str(groups.version)} if facts else facts
    limits = await limits_of(way, here, prefix, f"{prefix}docker/buildkit")
    assert limits.enforced is enforced
    assert words in limits.description
    assert limits.description.startswith("not enforced: ") is not enforced


def test_systemd_makes_a_slice_with_the_limits() -> None:
    assert slice_made("a.slice", Limit(1000, 1.5)) == [
        [
            "systemctl",
            "--runtime",
            "set-property",
            "a.slice",
            "MemoryMax=1000",
            "MemorySwapMax=0",
            "CPUQuota=150%",
        ],
        ["systemctl", "start", "a.slice"],
    ]
    assert slice_made("a.slice", Limit()) == [["systemctl", "start", "a.slice"]]


@pytest.mark.parametrize(
    ("limit", "memory", "cpus", "given"),
    [
        (Limit(1000, 2), None, None, Limit(1000, 2)),
        (Limit(1000, 2), 500, 1.5, Limit(500, 1.5)),
        (Limit(1000, 2), 5000, 8, Limit(1000, 2)),
        (Limit(1000, None), None, 3, Limit(1000, 3)),
    ],
)
def test_a_repository_gets_no_more_than_the_worker_gives(
    limit: Limit, memory: int | None, cpus: float | None, given: Limit
) -> None:
    assert within(limit, memory, cpus) == given


def test_a_worker_gives_what_is_set_or_most_of_its_memory() -> None:
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert own_limit(Settings()) == Limit(int(machine * 0.75), None)
    assert own_limit(Settings(build_memory="2g", build_cpus=1.5)) == Limit(2 * 2**30, 1.5)
    assert said(Limit(2 * 2**30, 1.5)) == "2.0 GiB of memory and 1.5 CPUs"
    assert said(Limit(48 * _MIB)) == "48 MiB of memory"
    assert said(Limit()) == "no limit"
