"""Viewers of one log, in a process of their own: URL PATH VIEWERS LINES SECONDS.

What they prove themselves with is AUTHORIZATION in the environment. Says `ready` when all are in, and at the
end, or after so many seconds, a line of JSON: how many lines each had in their order, without a gap and
none twice; and how old (in milliseconds) the newest line was of each piece that one of them read. A line is
its number, when it was printed in seconds since 1970, and words.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from urllib.parse import urlsplit

_LOG = b'event: log\ndata: "'
_END = b"\\n"  # of a line, in JSON


async def main(url: str, path: str, viewers: int, lines: int, seconds: float) -> None:
    host = urlsplit(url).netloc
    opened = [await _opened(host, path) for _ in range(viewers)]
    print("ready", flush=True)
    watching = [Viewer(reader, ages=number == 0) for number, (reader, _) in enumerate(opened)]
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(one.follow(lines) for one in watching))
    for _, writer in opened:
        writer.close()
    print(json.dumps({"counts": [one.lines for one in watching], "ages": watching[0].ages}), flush=True)


class Viewer:
    """One of them."""

    def __init__(self, reader: asyncio.StreamReader, *, ages: bool) -> None:
        self.lines = 0
        self.ages: list[float] = []
        self._reader = reader
        self._wants_ages = ages

    async def follow(self, wanted: int) -> None:
        """Until it has them all, or one was missing."""
        kept = b""
        while self.lines < wanted and (data := await self._reader.read(2**20)):
            *events, kept = (kept + data).split(b"\n\n")
            if not all(map(self._told, events)):
                return

    def _told(self, event: bytes) -> bool:
        """Whether an event goes on where the one before it ended: from its first line to its last."""
        if (begin := event.find(_LOG)) < 0:
            return True
        text = event[begin + len(_LOG) :]
        count = text.count(_END)
        last = text[text.rfind(_END, 0, text.rfind(_END)) + len(_END) :] if count > 1 else text
        first, (number, printed) = text.split(b" ", 1)[0], last.split(b" ", 2)[:2]
        if int(first) != self.lines or int(number) != self.lines + count - 1:
            print(f"line {self.lines} is missing: {text[:80]!r}", file=sys.stderr)
            return False
        self.lines += count
        if self._wants_ages:
            self.ages.append(1000 * (time.time() - float(printed)))
        return True


async def _opened(host: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(*host.split(":"), limit=2**20)
    proof = os.environ["AUTHORIZATION"]
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {proof}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in answer[:20]:
        raise RuntimeError(answer.decode())
    return reader, writer


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])))
