"""Children, one after another, beside threads that open and close sockets: `none lost`, or what was.

A process of its own, as it does not outlive what it looks for: the loop's own descriptors go as well.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import uvloop

from workers.process import process

_ROUNDS, _AT_ONCE, _THREADS = 30, 20, 4


def others(done: threading.Event, lost: list[str]) -> None:
    while not done.is_set():
        for one in [socket.socket() for _ in range(20)]:
            try:
                one.setblocking(False)
                one.close()
            except OSError as error:
                lost.append(str(error))


async def children() -> None:
    for _ in range(_ROUNDS):
        await asyncio.gather(*(process.run(["true"], env=os.environ) for _ in range(_AT_ONCE)))


def main() -> None:
    done, lost = threading.Event(), list[str]()
    threads = [threading.Thread(target=others, args=(done, lost), daemon=True) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    uvloop.run(children())  # as a worker has it
    done.set()
    for thread in threads:
        thread.join()
    print(lost or "none lost")


if __name__ == "__main__":
    main()
