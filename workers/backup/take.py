"""The story of a backup: dump ▸ compress ▸ keep ▸ drop what is too old.

The dump goes from the command's standard output to the depot piece by piece: no file, and no more memory
than one part of an upload. What is cut anywhere leaves no backup.
"""

from __future__ import annotations

import hashlib
import zlib

from workers.attempt import Attempt
from workers.backup.depot import Depot, Writing, depot
from workers.contract.backups import BackupResult, BackupSpec
from workers.contract.failure import Failure, ours, user
from workers.contract.messages import Step
from workers.engine.engine import Container, Ended
from workers.process.threads import to_the_end
from workers.tools import Tools

_LEVEL = 5  # of gzip: 6 takes a third longer for 2 % less
_GZIP = 31  # of zlib's `wbits`: https://docs.python.org/3/library/zlib.html#zlib.compressobj


async def backup(attempt: Attempt, spec: BackupSpec, tools: Tools) -> BackupResult:
    """Take it, and then drop those that `expired`. Raises Failure."""
    async with attempt.step(Step.BACKUP):
        container = await running(spec.place, spec.service, tools)
        where = await to_the_end(depot, spec.depot, attempt.credentials)
        dump = await _Dump.begun(where, spec.name)
        try:
            ended = await tools.engine.said_by(container.id, spec.command, dump.take)
            await _whole(ended, spec, container, tools)
            result = await to_the_end(dump.kept)
            attempt.commit()  # it is there: what is cancelled now has been done
        except BaseException:
            await _dropped(attempt, dump)
            raise
        attempt.log.line(f"{spec.service}: {result.dumped} bytes, kept as {result.size} in {spec.name}")
    return result.model_copy(update={"removed": await _removed(attempt, where, spec.expired)})


async def _whole(ended: Ended, spec: BackupSpec, container: Container, tools: Tools) -> None:
    """Raises Failure unless it ended well; another try may do where its container went meanwhile."""
    if ended.code:
        now = await tools.engine.container(container.id)
        if now is None or not now.running:
            raise ours("service_gone", f"Service {spec.service} ended while it was backed up")
    succeeded(ended, spec.command, f"The backup of {spec.service}")


class _Dump:
    """A stream that is compressed and counted on its way. Its methods block."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._sum = hashlib.sha256()
        self._size = self._dumped = 0

    @classmethod
    async def begun(cls, where: Depot, name: str) -> _Dump:
        return cls(await to_the_end(where.writing, name))

    def take(self, piece: bytes) -> None:
        self._dumped += len(piece)
        self._put(self._gzip.compress(piece))

    def kept(self) -> BackupResult:
        if not self._dumped:
            raise user("backup_empty", "The backup's command printed nothing: it has to print the backup")
        self._put(self._gzip.flush())
        self._writing.keep()
        return BackupResult(sha256=self._sum.hexdigest(), size=self._size, dumped=self._dumped)

    def drop(self) -> None:
        self._writing.drop()

    def _put(self, packed: bytes) -> None:
        if packed:
            self._sum.update(packed)
            self._size += len(packed)
            self._writing.write(packed)


async def running(place: str, service: str, tools: Tools) -> Container:
    """The container of an environment's service. Raises Failure where none runs here."""
    labels = {"worker": tools.worker, "place": place, "service": service}
    for container in await tools.engine.containers(labels):
        if container.running:
            return container
    raise ours(
        "service_gone", f"Service {service} does not run on {tools.worker}: deploy its environment first"
    )


def succeeded(ended: Ended, command: list[str], what: str) -> None:
    """Pure: raises Failure with the last of what a command said where it did not end well."""
    if ended.code:
        said = " ".join(ended.said.split())[-500:]
        raise user(
            "command_failed",
            f"{what}: {command[0]} ended with exit code {ended.code}" + (f": {said}" if said else ""),
        )


async def _dropped(attempt: Attempt, dump: _Dump) -> None:
    try:
        await to_the_end(dump.drop)
    except (Failure, OSError) as error:
        attempt.log.line(f"what was written could not be removed yet; the next backup does: {error}")


async def _removed(attempt: Attempt, where: Depot, expired: list[str]) -> list[str]:
    """Those that are gone; what could not be removed goes with the next one."""
    gone = []
    for name in expired:
        try:
            await to_the_end(where.remove, name)
        except (Failure, OSError) as error:
            attempt.log.line(f"{name} could not be removed yet: {error}")
        else:
            gone.append(name)
    return gone
