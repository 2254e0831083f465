"""Builders: buildx, else a docker CLI that speaks BuildKit by itself, else the classic builder."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import structlog

from workers import process
from workers.contract.messages import RegistryLogin
from workers.engine.engine import Builder, BuildOrder, Built
from workers.engine.login import docker_config, own_config
from workers.engine.progress import Progress, digest_in, transfer_failure

log = structlog.get_logger()

_ASKING = 10.0  # seconds
# What a docker CLI or git may read of the worker's environment. Everything else stays out.
_PASSED = re.compile(
    r"^(PATH|HOME|TMPDIR|LANG|DOCKER_(HOST|CONTEXT|CERT_PATH|TLS_VERIFY|API_VERSION)|BUILDX_BUILDER|"
    r"SSL_CERT_(FILE|DIR)|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|XDG_RUNTIME_DIR|SSH_AUTH_SOCK)$"
)


class CliBuilder:
    """A docker CLI: `build` is its way of building."""

    def __init__(
        self,
        cli: Sequence[str],
        build: Sequence[str],
        description: str,
        environ: Mapping[str, str],
        prefix: str,
        extra: Mapping[str, str],
    ) -> None:
        self.description = description
        self._cli = cli
        self._build = build
        self._environ = environ
        self._prefix = prefix
        self._extra = extra

    async def build(
        self, order: BuildOrder, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> Built:
        argv = [*self._build, "-f", str(order.dockerfile), "-t", order.tag]
        argv += ["--target", order.target] if order.target else []
        for flag, values in (("--build-arg", order.args), ("--label", order.labels)):
            argv += [part for name, value in values.items() for part in (flag, f"{name}={value}")]
        progress = Progress()

        def read(block: str) -> None:
            output(block)
            for line in process.lines(block):
                progress.feed(line)

        ended = await self._run([*argv, str(order.context)], logins, read, {"TMPDIR": str(order.scratch)})
        if ended.code != 0:
            raise progress.failure(ended.code, order.dockerfile.name)
        return Built()

    async def push(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> str | None:
        ended = await self._run([*self._cli, "push", reference], logins, output)
        if ended.code != 0:
            raise transfer_failure("push", reference, ended.tail)
        return digest_in(ended.tail)

    async def pull(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> None:
        ended = await self._run([*self._cli, "pull", reference], logins, output)
        if ended.code != 0:
            raise transfer_failure("pull", reference, ended.tail)

    async def _run(
        self,
        argv: Sequence[str],
        logins: Sequence[RegistryLogin],
        output: Callable[[str], None],
        more: Mapping[str, str] | None = None,
    ) -> process.Ended:
        with docker_config(logins, self._environ, self._prefix) as where:
            env = {**child_environment(self._environ), **self._extra, **where, **(more or {})}
            return await process.run(argv, env=env, cwd=Path("/"), output=output)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child process gets of `environ`: nothing that Blacktree keeps secret."""
    return {name: value for name, value in environ.items() if _PASSED.match(name)}


async def find_builder(environ: Mapping[str, str], prefix: str) -> Builder:
    """The best builder of this machine. `prefix` starts the names of its temporary folders."""
    clis = list(_clis(environ.get("PATH", os.defpath)))
    env = child_environment(environ) | {"DOCKER_CONFIG": str(own_config(environ))}
    for cli in clis:
        if version := await _asked([cli, "buildx", "version"], env):
            build = [cli, "buildx", "build", "--load", "--progress=plain"]
            words = version.split()
            name = f"buildx {words[1] if len(words) > 1 else version} ({cli})"
            return CliBuilder([cli], build, name, environ, prefix, {})
    for cli in clis:
        version = await _asked([cli, "version", "--format", "{{.Client.Version}} {{.Server.Version}}"], env)
        if version and _own_buildkit(version):
            build = [cli, "build", "--progress=plain"]
            name = f"BuildKit of docker {version.split()[0]} ({cli})"
            return CliBuilder([cli], build, name, environ, prefix, {"DOCKER_BUILDKIT": "1"})
    log.warning("no BuildKit here: images are built by Docker's classic builder; install docker buildx")
    # -P: the current folder is no place to import from.
    classic = [sys.executable, "-P", "-m", "workers.engine.classic"]
    return CliBuilder(classic, [*classic, "build"], "Docker's classic builder", environ, prefix, {})


def _own_buildkit(versions: str) -> bool:
    """From 23.0 on the CLI leaves BuildKit to buildx; engines have it since 18.09."""
    numbers = [tuple(map(int, found)) for found in re.findall(r"(\d+)\.(\d+)\S*", versions)]
    return len(numbers) == 2 and (18, 9) <= numbers[0] < (23, 0) and numbers[1] >= (18, 9)


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
