"""An engine whose containers are this machine: commands really run, and can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from workers.attempt import Attempt
from workers.contract.backups import Depot
from workers.contract.messages import AttemptRef, BackupSpec, Credentials, Event, Kept, RestoreSpec, Spec
from workers.engine.engine import Container, Ended
from workers.tools import Tools

PLACE = "test.7.production"


class LocalEngine:
    """Has one service, `db`."""

    def __init__(self) -> None:
        self.commands: list[subprocess.Popen[bytes]] = []
        self.printing = asyncio.Event()  # something was printed
        self.there = True

    async def containers(self, labels: Mapping[str, str]) -> list[Container]:
        known = {"worker": "here", "place": PLACE, "service": "db"}
        one = Container("1", "db", {}, "running", 0, 0, False, None)
        return [one] if known.items() >= labels.items() else []

    async def container(self, _: str) -> Container | None:
        return (await self.containers({}))[0] if self.there else None

    async def said_by(self, _: str, command: Sequence[str], take: Callable[[bytes], None]) -> Ended:
        loop = asyncio.get_running_loop()

        def read(running: subprocess.Popen[bytes]) -> None:
            assert running.stdout is not None
            while piece := cast(Any, running.stdout).read1(64 * 1024):
                take(piece)
                loop.call_soon_threadsafe(self.printing.set)

        return await self._run(command, read)

    async def fed(self, _: str, command: Sequence[str], pieces: Iterable[bytes]) -> Ended:
        def write(running: subprocess.Popen[bytes]) -> None:
            assert running.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                for piece in pieces:
                    running.stdin.write(piece)
                running.stdin.close()

        return await self._run(command, write)

    async def _run(self, command: Sequence[str], work: Callable[[subprocess.Popen[bytes]], None]) -> Ended:
        running = _started(command)
        self.commands.append(running)

        def lived() -> Ended:
            with running:
                try:
                    work(running)
                except BaseException:
                    running.kill()
                    raise
                said = running.stderr.read().decode() if running.stderr else ""
                return Ended(running.wait(), said)

        working = asyncio.ensure_future(asyncio.to_thread(lived))
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            running.kill()
            await asyncio.wait({working})
            working.exception()
            raise


def _started(command: Sequence[str]) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


class Stage:
    """What a story needs, and what its log said."""

    def __init__(self, folder: Path, depot: Depot, credentials: Credentials | None = None) -> None:
        self.engine = LocalEngine()
        self.depot = depot
        self.tools = cast(Tools, _Tools(self.engine))
        self._folder = folder
        self._credentials = credentials or Credentials()

    def attempt(self, spec: Spec) -> Attempt:
        return Attempt(AttemptRef(job="1-1", attempt=1), spec, self._credentials, self._folder, _unheard)

    def backup(self, *command: str, name: str = "7/production/db/one.gz", **more: Any) -> BackupSpec:
        return BackupSpec(
            place=PLACE, service="db", command=list(command), depot=self.depot, name=name, **more
        )

    def restore(self, kept: Kept, *command: str) -> RestoreSpec:
        return RestoreSpec(place=PLACE, service="db", command=list(command), depot=self.depot, kept=kept)


class _Tools:
    worker = "here"

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine


async def _unheard(_: Event) -> None:
    pass
