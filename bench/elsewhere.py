"""What viewers of somebody else cost a machine: VIEWERS LINES RATE, a server of its own beside the bot.

Says at which port it listens. Once all are there it tells them the lines that the bot's log would have, as
fast, ten times a second, and nothing is worked out for them: each gets the very same bytes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

EVERY = 0.1  # seconds between two tellings, as the bot's
WORDS = "a line of a build that says very much, and has a \x1b[32mcolour\x1b[0m"


async def main(viewers: int, lines: int, rate: int) -> None:
    there: list[asyncio.StreamWriter] = []
    all_there = asyncio.Event()

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        there.append(writer)
        if len(there) == viewers:
            all_there.set()

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await all_there.wait()
    begun, burst = time.perf_counter(), round(rate * EVERY)
    for number, first in enumerate(range(0, lines, burst)):
        await asyncio.sleep(max(0.0, begun + number * EVERY - time.perf_counter()))
        text = "".join(f"{line} {time.time():.4f} {WORDS}\n" for line in range(first, first + burst))
        event = f"id: {first}\nevent: log\ndata: {json.dumps(text)}\n\n".encode()
        for writer in there:
            writer.write(event)
        await asyncio.gather(*(writer.drain() for writer in there))
    await asyncio.sleep(EVERY)


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:4])))
