"""The story of a restore: verify ▸ give it to the command. What is not what was kept reaches no database."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import zlib
from collections.abc import Iterator

from workers.attempt import Attempt
from workers.backup.depot import Depot, depot
from workers.backup.take import running, succeeded
from workers.contract.backups import Depot as Told
from workers.contract.backups import Kept, RestoreSpec
from workers.contract.failure import Failure, final
from workers.contract.messages import Step
from workers.engine.engine import Container
from workers.process.threads import to_the_end
from workers.tools import Tools

_GZIP = 31  # of zlib's `wbits`: https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_PIECE = 1024 * 1024  # bytes that are given at once: a few packed ones may be a thousand times as many


async def restore(attempt: Attempt, spec: RestoreSpec, tools: Tools) -> None:
    """Put a backup into the service. Raises Failure."""
    container = await running(spec.place, spec.service, tools)
    await restored(attempt, container, spec.command, spec.depot, spec.kept, tools)


async def restored(
    attempt: Attempt, container: Container, command: list[str], told: Told, kept: Kept, tools: Tools
) -> None:
    """All of it is read and verified before the command gets any of it. Raises Failure."""
    where = await to_the_end(depot, told, attempt.credentials)
    async with attempt.step(Step.VERIFY):
        attempt.log.line(f"{kept.name}: {kept.size} bytes")
        await _verified(where, kept)
    async with attempt.step(Step.RESTORE):
        ended = await tools.engine.fed(container.id, command, unpacked(where, kept))
        if ended.said:
            attempt.log.write(f"{ended.said}\n")
        succeeded(ended, command, "The restore")
        attempt.log.line(f"{kept.name} is restored")


def unpacked(where: Depot, kept: Kept) -> Iterator[bytes]:
    """The stream as it was dumped. Raises Failure at the end where it is not what was kept."""
    gzip = zlib.decompressobj(_GZIP)
    try:
        for piece in _read(where, kept):
            left = piece
            while left:
                yield gzip.decompress(left, _PIECE)
                left = gzip.unconsumed_tail
        yield gzip.flush()
    except zlib.error as error:
        raise _damaged(kept, str(error)) from None
    if not gzip.eof:
        raise _damaged(kept, "it ends in the middle")


def _read(where: Depot, kept: Kept, unwanted: threading.Event | None = None) -> Iterator[bytes]:
    """What lies there. Raises Failure at the end where it is not what was kept."""
    found, size = hashlib.sha256(), 0
    for piece in where.read(kept.name):
        found.update(piece)
        size += len(piece)
        yield piece
        if unwanted is not None and unwanted.is_set():
            return
    if size != kept.size or found.hexdigest() != kept.sha256:
        raise _damaged(kept, f"it has {size} bytes with the SHA-256 {found.hexdigest()}")


def _damaged(kept: Kept, found: str) -> Failure:
    return final(
        "backup_damaged",
        f"The backup {kept.name} is not what was kept ({kept.size} bytes with the SHA-256 {kept.sha256}):"
        f" {found}. Restore another one",
    )


async def _verified(where: Depot, kept: Kept) -> None:
    unwanted = threading.Event()

    def read() -> None:
        for _ in _read(where, kept, unwanted):
            pass

    reading = asyncio.ensure_future(to_the_end(read))
    try:
        await asyncio.shield(reading)
    except asyncio.CancelledError:
        unwanted.set()
        await asyncio.wait({reading})
        reading.exception()
        raise
