"""Which builder a machine has: buildx, else a docker CLI's own BuildKit, else the classic one."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from workers.engine.arguments import Kind, Way
from workers.engine.builder import Builder
from workers.engine.cgroups import Limit, tree
from workers.engine.cli import CliBuilder, child_environment
from workers.engine.limits import SHARED, ByArguments, Limits, NotHeld, one_group, own_groups
from workers.engine.login import own_config
from workers.process import process

log = structlog.get_logger()

_ASKING = 60.0  # seconds: a worker builds for as long as it lives with what it found at its start
_ANY = Limit()
_OWN_SINCE, _OWN_UNTIL = (18, 9), (23, 0)
_HEREDOCS_SINCE = (23, 0)  # the first engine whose BuildKit has them without `# syntax=`
_PARENT_SINCE = (23, 0)  # of engines whose BuildKit heeds --cgroup-parent


async def find_builder(
    environ: Mapping[str, str],
    prefix: str,
    limit: Limit = _ANY,
    *,
    kinds: Sequence[Kind] = tuple(Kind),
    shared: str = SHARED,
) -> Builder:
    """The best builder of this machine, holding each build to `limit`.

    `prefix` starts the names of its temporary folders and control groups: what is left there of an earlier
    worker goes now. `kinds` are the ones looked for, in the order of Kind; `shared` is the group in which
    an engine runs all builds, if it has one.
    """
    env = child_environment(environ) | {"DOCKER_CONFIG": str(own_config(environ))}
    clis = _clis(environ.get("PATH", os.defpath))
    way, facts = await _way(clis, env, kinds)
    if way.kind is Kind.CLASSIC:
        log.warning("no BuildKit here: images are built by Docker's classic builder; install docker buildx")
    limits = await limits_of(way, facts, prefix, shared)
    if not limits.enforced:
        log.warning("builds are not limited", why=limits.description)
    return CliBuilder(way, limits, limit, environ, prefix)


async def _way(
    clis: Sequence[str], env: Mapping[str, str], kinds: Sequence[Kind]
) -> tuple[Way, Mapping[str, Any]]:
    for cli in clis if Kind.BUILDX in kinds else ():
        version = await _asked([cli, "buildx", "version"], env)
        driver = version and await _asked([cli, "buildx", "inspect"], env)
        if version and driver:
            facts = await _facts(cli, env)
            return _buildx(cli, version, driver, facts), facts
        if version:
            log.warning("docker buildx has no builder that it can use", docker=cli)
    for cli in clis if Kind.OWN in kinds else ():
        facts = await _facts(cli, env)
        client = await _asked([cli, "version", "--format", "{{.Client.Version}}"], env)
        if client and _OWN_SINCE <= _number(client) < _OWN_UNTIL and _engine(facts) >= _OWN_SINCE:
            heredocs = _engine(facts) >= _HEREDOCS_SINCE
            return Way(Kind.OWN, [cli], f"BuildKit of docker {client} ({cli})", heredocs=heredocs), facts
    # -P: the current folder is no place to import from.
    return Way(Kind.CLASSIC, [sys.executable, "-P", "-m", "workers.engine.classic"], Kind.CLASSIC.value), {}


def _buildx(cli: str, version: str, inspected: str, facts: Mapping[str, Any]) -> Way:
    # `github.com/docker/buildx v0.13.1 …`, and a table with `Driver: docker` in it
    words = version.split()
    found = re.search(r"^Driver:\s*(\S+)", inspected, re.M)
    driver = found[1] if found else "docker"
    # Docker's own has Docker's version, until Docker 23.
    told = re.search(r"^BuildKit(?: version)?:\s*(\S+)", inspected, re.M | re.I)
    buildkit = f", BuildKit {told[1]}" if told else ""
    containerd = any("io.containerd.snapshotter" in str(row) for row in facts.get("DriverStatus") or ())
    return Way(
        Kind.BUILDX,
        [cli],
        f"buildx {words[1] if len(words) > 1 else version}, driver {driver}{buildkit} ({cli})",
        several=driver != "docker" or containerd,
        heredocs=driver != "docker" or _engine(facts) >= _HEREDOCS_SINCE,
        loads=driver == "docker",
    )


async def limits_of(way: Way, facts: Mapping[str, Any], prefix: str, shared: str = SHARED) -> Limits:
    """What holds builds in that way to their limits, given what `docker info` tells of the engine."""
    if way.kind is Kind.CLASSIC:
        return ByArguments()
    if not way.loads:
        todo = "give it limits where it is made (--driver-opt memory=…)"
        return NotHeld(f"builds run in a builder of their own; {todo}")
    elsewhere = not str(facts.get("endpoint")).startswith("unix://")
    if elsewhere or facts.get("KernelVersion") != os.uname().release:
        return NotHeld("the engine is on another machine; run the worker there")
    try:
        found = tree(2 if str(facts.get("CgroupVersion")) == "2" else 1)
        if found is None:
            return NotHeld(
                "this container does not see the machine's control groups;"
                " give it `cgroup: host` and the volume /sys/fs/cgroup:/sys/fs/cgroup"
            )
        if way.kind is Kind.BUILDX and _engine(facts) >= _PARENT_SINCE:
            return await own_groups(found, prefix)
        if facts.get("CgroupDriver") != "cgroupfs":
            todo = "install Docker 23 or newer with docker buildx"
            return NotHeld(f"this one has no place for limits where systemd owns the control groups; {todo}")
        return await one_group(found, shared)
    except OSError as error:
        return NotHeld(
            f"this process may not make control groups ({error}); run the worker as root, in a container"
            " with `cgroup: host` and the volume /sys/fs/cgroup:/sys/fs/cgroup"
        )


async def _facts(cli: str, env: Mapping[str, str]) -> dict[str, Any]:
    """What `docker info` tells, and the endpoint of this CLI; empty if the engine does not answer."""
    told = await _asked([cli, "info", "--format", "{{json .}}"], env)
    endpoint = await _asked([cli, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"], env)
    try:
        facts = json.loads(told or "")
    except ValueError:
        return {}
    return {**facts, "endpoint": endpoint} if isinstance(facts, dict) else {}


def _engine(facts: Mapping[str, Any]) -> tuple[int, ...]:
    return _number(str(facts.get("ServerVersion") or ""))


def _number(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0,)


def _clis(path: str) -> list[str]:
    found: dict[str, str] = {}
    for place in (*path.split(os.pathsep), "/usr/local/bin", "/usr/bin"):
        cli = os.path.join(place, "docker")
        if place and os.access(cli, os.X_OK):
            found.setdefault(os.path.realpath(cli), cli)
    return list(found.values())


async def _asked(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    try:
        ended = await process.run(argv, env=env, timeout=_ASKING)
    except (TimeoutError, OSError):
        return None
    return ended.tail.strip() if ended.code == 0 else None
