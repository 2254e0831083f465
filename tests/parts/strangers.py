"""Many at once who send what is on standard input, then BYTES of a body, and come again when they are ended.

python -m tests.parts.strangers URL HOW_MANY BYTES
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
from urllib.parse import urlsplit

_PART = b"x" * 65536
_PAUSE = 5.0  # seconds before one comes again


async def besiege(host: str, port: int, count: int, start: bytes, size: int) -> None:
    """Until this process ends."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_stay(host, port, start, size))


async def _stay(host: str, port: int, start: bytes, size: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            await _ask(host, port, start, size)
        await asyncio.sleep(_PAUSE)


async def _ask(host: str, port: int, start: bytes, size: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(start)
        for _ in range(size // len(_PART)):
            if writer.transport.is_closing():
                return
            writer.write(_PART)
            await writer.drain()
        await reader.read()
    finally:
        writer.transport.abort()


def main() -> None:
    place, count, size = urlsplit(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(besiege(str(place.hostname), int(place.port or 80), count, sys.stdin.buffer.read(), size))


if __name__ == "__main__":
    main()
