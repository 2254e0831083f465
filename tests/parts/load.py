"""Constant load by wrk and hey, and what of it failed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What became of a tool's requests; `text` is all that it said."""

    requests: int
    failed: int
    text: str


class Load:
    """A tool that runs until it is stopped; then it has its outcome."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    async def stop(self) -> Outcome:
        """Its outcome; what is under way is waited for by neither tool."""
        self._process.send_signal(2)
        output, _ = await self._process.communicate()
        return (_of_wrk if self._name == "wrk" else _of_hey)(output.decode())


@asynccontextmanager
async def wrk(url: str, connections: int = 16) -> AsyncIterator[Load]:
    """Keep-alive connections, each asking again as soon as it has its answer."""
    async with _running(
        "wrk", "-t", "1", "-c", str(connections), "-d", "3600s", "--timeout", "30s", url
    ) as load:
        yield load


@asynccontextmanager
async def hey(
    url: str, connections: int = 8, rate: int = 25, *, keep_alive: bool = True
) -> AsyncIterator[Load]:
    """`rate` requests a second on each connection, or each on a connection of its own."""
    how = [] if keep_alive else ["-disable-keepalive"]
    async with _running(
        "hey", *how, "-c", str(connections), "-q", str(rate), "-z", "3600s", "-t", "30", url
    ) as load:
        yield load


@asynccontextmanager
async def _running(*command: str) -> AsyncIterator[Load]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        yield Load(command[0], process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _of_wrk(text: str) -> Outcome:
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    failed = sum(map(int, errors.groups())) if errors else 0
    done = re.search(r"(\d+) requests in", text)
    assert done, text
    return Outcome(int(done[1]), failed + (int(refused[1]) if refused else 0), text)


def _of_hey(text: str) -> Outcome:
    assert "Summary:" in text, text
    answers = {int(code): int(count) for code, count in re.findall(r"\[(\d{3})\]\s+(\d+) responses", text)}
    errors = sum(
        map(int, re.findall(r"^\s*\[(\d+)\]\t(?!\d+ responses)", text.partition("Error dist")[2], re.M))
    )
    failed = errors + sum(count for code, count in answers.items() if code >= 400)
    return Outcome(sum(answers.values()) + errors, failed, text)
