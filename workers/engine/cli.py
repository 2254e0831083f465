"""A docker CLI, or the program that stands in for one, as the builder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from workers.contract.failure import ours
from workers.contract.messages import RegistryLogin
from workers.engine.arguments import Kind, Private, Way, arguments, refusal
from workers.engine.blame import transfer_failure
from workers.engine.builder import BuildOrder, Built
from workers.engine.cgroups import Limit
from workers.engine.limits import Limits, said, within
from workers.engine.login import docker_config
from workers.engine.progress import Progress, digest_in
from workers.engine.too_old import too_old
from workers.process import process

log = structlog.get_logger()

_SETTLING = 5.0  # seconds that a cancelled build gets to leave nothing
_FORGOTTEN = 3600.0  # seconds after which the engine is thought to have ended it somehow
_LOOK = 0.1  # seconds between two looks at what it leaves
# What a docker CLI or git may read of the worker's environment. Everything else stays out.
_PASSED = re.compile(
    r"^(PATH|HOME|TMPDIR|LANG|DOCKER_(HOST|CONTEXT|CERT_PATH|TLS_VERIFY|API_VERSION)|BUILDX_BUILDER|"
    r"SSL_CERT_(FILE|DIR)|(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY|XDG_RUNTIME_DIR|SSH_AUTH_SOCK)$"
)


@dataclass(frozen=True)
class Remains:
    """What the engine may still make of a build that was cancelled."""

    since: float  # seconds since 1970
    tag: str
    container: str | None
    images: Sequence[str]


class CliBuilder:
    """Builds in one way, with child processes."""

    def __init__(
        self, way: Way, limits: Limits, limit: Limit, environ: Mapping[str, str], prefix: str
    ) -> None:
        self.description = way.description
        self.heredocs = way.heredocs
        self.frontends = way.kind is not Kind.CLASSIC
        self.limits = f"{said(limit)} for one build, {limits.description}"
        self._way = way
        self._holding = limits
        self._limit = limit
        self._environ = environ
        self._prefix = prefix
        self._unsettled: list[Remains] = []

    async def build(
        self, order: BuildOrder, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> Built:
        if refused := refusal(self._way, order):
            raise refused
        await self._settle_older()
        limit = within(self._limit, order.memory, order.cpus)
        output(f"building with {self.description}; limits: {said(limit)}, {self._holding.description}\n")
        progress, began = Progress(), time.time()

        def read(piece: str) -> None:
            output(piece)
            for line in process.lines(piece):
                progress.feed(line)

        try:
            async with self._holding.held(limit) as held:
                with self._config(logins, stranger=order.stranger) as (folder, where):
                    private = _written(order, folder)
                    argv = arguments(self._way, order, private, held.arguments)
                    more = {**where, **order.proxies, "TMPDIR": str(order.scratch)}
                    ended = await self._run(argv, read, more)
                    digest = _digest(private) if ended.code == 0 else None
                out_of_memory = held.out_of_memory()
        except asyncio.CancelledError:
            await self._settle(self._remains(order, progress, began))
            raise
        output(progress.table())
        if ended.code != 0:
            failure = progress.failure(ended.code, order.dockerfile.name, out_of_memory=out_of_memory)
            text = await asyncio.to_thread(order.dockerfile.read_text, errors="replace")
            raise too_old(failure.sentence, text, self.description) or failure
        return Built(progress.layers, progress.cached, digest)

    async def push(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> str | None:
        ended = await self._asked("push", reference, logins, output)
        return digest_in(ended.tail)

    async def pull(
        self, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> None:
        await self._asked("pull", reference, logins, output)

    async def _asked(
        self, verb: str, reference: str, logins: Sequence[RegistryLogin], output: Callable[[str], None]
    ) -> process.Ended:
        with self._config(logins) as (_, where):
            ended = await self._run([*self._way.cli, verb, reference], output, where)
        if ended.code != 0:
            raise transfer_failure(verb, reference, ended.tail)
        return ended

    @contextlib.contextmanager
    def _config(
        self, logins: Sequence[RegistryLogin], *, stranger: bool = False
    ) -> Iterator[tuple[Path, dict[str, str]]]:
        with docker_config(logins, self._environ, self._prefix, stranger=stranger) as where:
            yield Path(where["DOCKER_CONFIG"]), where

    async def _run(
        self, argv: Sequence[str], output: Callable[[str], None], more: Mapping[str, str]
    ) -> process.Ended:
        env = {**child_environment(self._environ), **self._way.env, **more}
        return await process.run(argv, env=env, cwd=Path("/"), output=output)

    def _remains(self, order: BuildOrder, progress: Progress, began: float) -> Remains | None:
        if self._way.kind is Kind.CLASSIC:
            return Remains(began, order.tag, progress.container, progress.images)
        # An engine that has begun to make the image ends that, and names it, whoever is gone.
        tag = order.push_to if len(order.platforms) > 1 and order.push_to else order.tag
        return Remains(began, tag, None, ()) if self._way.loads and progress.exporting else None

    async def _settle(self, remains: Remains | None) -> None:
        """Wait until the engine is done with a cancelled build, and remove what it has made."""
        if remains is None:
            return
        try:
            async with asyncio.timeout(_SETTLING):
                await self._removed(remains, patient=True)
        except TimeoutError:
            log.warning("a cancelled build is being finished by the engine", image=remains.tag)
            self._unsettled.append(remains)

    async def _settle_older(self) -> None:
        """Remove what cancelled builds that took longer to end have left since."""
        for remains in tuple(self._unsettled):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLING):
                    removed = await self._removed(remains, patient=False)
                    if removed or time.time() - remains.since > _FORGOTTEN:
                        self._unsettled.remove(remains)

    async def _removed(self, remains: Remains, *, patient: bool) -> bool:
        with self._config(()) as (_, where):
            if self._way.kind is Kind.CLASSIC:
                container = [f"--container={remains.container}"] if remains.container else []
                argv = ["settle", f"--since={remains.since}", f"--tag={remains.tag}", *container]
                await self._run([*self._way.cli, *argv, *remains.images], _unheard, where)
                return True
            while True:
                ended = await self._run([*self._way.cli, "rmi", remains.tag], _unheard, where)
                if ended.code == 0 or not patient:
                    return ended.code == 0
                await asyncio.sleep(_LOOK)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What a child process gets of `environ`: nothing that Blacktree keeps secret."""
    return {name: value for name, value in environ.items() if _PASSED.match(name)}


def _written(order: BuildOrder, folder: Path) -> Private:
    """The order's private values as files in `folder`, which nobody else may enter."""
    secrets = {name: folder / f"secret-{number}" for number, name in enumerate(order.secrets)}
    for name, file in secrets.items():
        file.write_text(order.secrets[name])
    key = folder / "ssh-key" if order.ssh_key else None
    if key and order.ssh_key:
        key.write_text(order.ssh_key.rstrip("\n") + "\n")  # OpenSSH's format ends in a newline
    return Private(secrets, key, folder / "metadata.json" if len(order.platforms) > 1 else None)


def _digest(private: Private) -> str | None:
    if private.metadata is None:
        return None
    try:
        told = json.loads(private.metadata.read_text())
        return str(told["containerimage.digest"])
    except (OSError, ValueError, KeyError):
        raise ours("push_failed", "buildx did not say by which digest the registry knows the image") from None


def _unheard(_: str) -> None:
    pass
