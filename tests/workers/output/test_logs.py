"""An attempt's log on its way to the bot."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.attempt import Attempt
from workers.contract.failure import user
from workers.contract.messages import AttemptRef, Credentials, Event, Fault, LogChunk, StopSpec
from workers.output import logs
from workers.output.bounded import Bounded
from workers.output.logs import LogSink
from workers.process import process

ENV = {"PATH": os.environ["PATH"]}


class Told:
    def __init__(self) -> None:
        self.chunks: list[LogChunk] = []
        self.open = asyncio.Event()
        self.open.set()
        self.pause = 0.0

    async def __call__(self, chunk: Event) -> None:
        await self.open.wait()
        await asyncio.sleep(self.pause)
        if isinstance(chunk, LogChunk):
            assert chunk.offset == len(self.text)
            self.chunks.append(chunk)

    @property
    def text(self) -> str:
        return "".join(chunk.text for chunk in self.chunks)


async def test_offsets_count_the_characters_before() -> None:
    told = Told()
    async with LogSink(told, "j", 1).pumped() as sink:
        sink.write("ä" * 500_000)
        sink.line("end")
    assert len(told.chunks) > 1
    assert told.text == "ä" * 500_000 + "\nend\n"


async def test_a_line_is_told_soon() -> None:
    told = Told()
    async with LogSink(told, "j", 1).pumped() as sink:
        sink.line("hello")
        async with asyncio.timeout(20):
            while told.text != "hello\n":  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_what_is_told_is_clean_and_masked() -> None:
    told = Told()
    async with LogSink(told, "j", 1, ["hunter2-and-more"]).pumped() as sink:
        for piece in ("a hunt", "er2-\x1b[31mand", "-mo\0re\x1b[0", "m\r\nlone \udcff surrogate"):
            sink.write(piece)
        assert sink.masked("said: hunter2-\x1b[1mand-more") == "said: ***"
    assert told.text == "a ***\x1b[31m\x1b[0m\nlone ? surrogate"


async def test_while_the_bot_takes_nothing_the_middle_is_dropped_and_a_line_says_so() -> None:
    told = Told()
    told.open.clear()
    async with LogSink(told, "j", 1, memory=400_000).pumped() as sink:
        for number in range(30_000):
            sink.line(hashlib.sha256(str(number).encode()).hexdigest())
        told.open.set()
        async with asyncio.timeout(90):
            while "are lost" not in told.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        sink.line("live again")
    lines = told.text.splitlines()
    lost = next(
        int(found[1].replace(",", "")) for found in map(re.compile("… ([0-9,]+) lines").match, lines) if found
    )
    assert lines[0] == hashlib.sha256(b"0").hexdigest()
    assert lines[-2:] == [hashlib.sha256(b"29999").hexdigest(), "live again"]
    assert (
        len(lines) - 3 + lost == 30_000
    )  # without the line that tells, an empty one before it, and the last
    assert len(told.text) < 1_000_000


async def test_beyond_its_budget_a_log_keeps_its_start_and_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MARK", 0.0)
    told = Told()
    async with LogSink(told, "j", 1, budget=200_000).pumped() as sink:
        for number in range(100_000):
            sink.line(f"line {number}")
        async with asyncio.timeout(90):
            while "100,000 lines so far; the last ones follow at the end" not in told.text:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert "line 99999\n" not in told.text
    assert told.text.startswith("line 0\nline 1\n")
    assert told.text.endswith("line 99998\nline 99999\n")
    assert "are left out: a log keeps its start and its end, 0.2 MB" in told.text
    assert 150_000 < len(told.text) < 210_000


async def test_if_the_end_cannot_be_told_in_time_its_last_words_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_LAST_WORDS_IN", 60.0)  # however busy this machine is
    told = Told()
    told.pause = 0.05
    async with asyncio.timeout(170):
        async with LogSink(told, "j", 1).pumped(last=0.4) as sink:
            for number in range(1_000_000):
                sink.write(f"line {number}\n")
    assert told.text.startswith("line 0\n")
    assert told.text.endswith("line 999999\n")
    assert "are lost: the bot did not take them in time" in told.text


async def test_the_end_of_a_log_is_not_waited_for_for_ever() -> None:
    told = Told()
    told.open.clear()
    async with asyncio.timeout(20):
        async with LogSink(told, "j", 1).pumped(last=0.1) as sink:
            sink.line("never told")
    assert told.chunks == []


async def test_garbage_without_a_line_end_is_bounded_too() -> None:
    told = Told()
    async with LogSink(told, "j", 1, ["a secret of a user"], budget=1_000_000).pumped() as sink:
        await process.run(
            ["sh", "-c", "head -c 4000000 /dev/urandom | tr -d '\\n\\r'; echo; echo the end"],
            env=ENV,
            output=sink.write,
        )
    assert len(told.text.encode()) < 1_100_000
    assert told.text.endswith("\nthe end\n")


async def test_a_million_lines_take_little_memory_and_keep_their_ends() -> None:
    told = Told()
    tracemalloc.start()
    try:
        async with LogSink(
            told, "j", 1, [f"secret number {n}" for n in range(50)], 2_000_000
        ).pumped() as sink:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await process.run(["seq", "-f", "#7 0.1 line %.0f", "1000000"], env=ENV, output=sink.write)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told.text.startswith("#7 0.1 line 1\n#7 0.1 line 2\n")
    assert told.text.endswith("#7 0.1 line 1000000\n")
    assert peak - before < 8_000_000


async def test_a_program_that_prints_without_end_holds_neither_memory_nor_the_loop() -> None:
    """As fast as it is read, which is more than 50 MB in a second where nobody else works."""
    lags = [0.0]  # of the loop's own doing: what others do on this machine meanwhile is no matter

    async def heart() -> None:
        while True:
            begun = time.thread_time()
            await asyncio.sleep(0.02)
            lags.append(time.thread_time() - begun)

    told = Told()
    flood = ["timeout", "--preserve-status", "-s", "KILL", "6", "yes", "0123456789 abcdefghij " * 3]
    before = _resident()
    sink = LogSink(told, "j", 1, [f"secret number {n}" for n in range(50)], 8_000_000)
    async with sink.pumped():
        beating = asyncio.create_task(heart())
        with contextlib.suppress(Exception):  # it was killed
            await process.run(flood, env=ENV, output=sink.write)
        beating.cancel()
    [(lines, megabytes)] = re.findall(r"… ([\d,]+) lines \(([\d,.]+) MB\) are", told.text)
    assert float(megabytes.replace(",", "")) > 20, "the flood was one"
    assert len(told.text.encode()) < 9_000_000
    assert _resident() - before < 40_000_000
    assert sorted(lags)[len(lags) * 95 // 100] < 0.25
    assert len(lags) > 10, lines


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def test_a_failures_sentence_is_masked_and_so_is_what_breaks_an_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Told()
    attempt = Attempt(
        AttemptRef(job="1-1", attempt=1),
        StopSpec(instance="i", repository="acme/shop", environment="pr-1"),
        Credentials(git_password="hunter2-and-more"),
        tmp_path / "work",
        told,
    )

    async def fails(_: Attempt) -> None:
        raise user("build_failed", "RUN said: hunter2-and-more")

    async def breaks(_: Attempt) -> None:
        raise ValueError("hunter2-and-more")

    async with attempt.opened():
        failed = await attempt.perform(fails, 10)
        broken = await attempt.perform(breaks, 10)
    assert (failed.outcome, broken.outcome) == ("failed", "failed")
    assert failed.outcome == "failed"
    assert (failed.fault, failed.sentence) == (Fault.USER, "RUN said: ***")
    out = capsys.readouterr()
    assert "ValueError: ***" in out.out + out.err
    assert "hunter2" not in out.out + out.err + told.text


def everything(box: Bounded) -> Iterator[bytes]:
    while text := box.take(50, last=True):
        yield text


@given(
    st.lists(st.integers(0, 300) | st.none() | st.just(-1), max_size=60),
    st.integers(16, 4000),
    st.integers(10, 4000),
)
def test_whatever_is_left_out_is_counted_and_the_ends_are_kept(
    moves: list[int | None], budget: int, memory: int
) -> None:
    """A number puts a line of that length, None takes, -1 shortens."""
    box = Bounded(budget, memory)
    given: list[bytes] = []
    put: list[str] = []
    for move in moves:
        if move is None:
            given.append(box.take(100))
        elif move < 0:
            box.shorten(100)
        else:
            put.append(f"{len(put)}:" + "x" * move)
            box.put(put[-1].encode() + b"\n")
    given += everything(box)
    lines = b"".join(given).decode().splitlines()
    lost = [
        int(found[1].replace(",", "")) for line in lines if (found := re.match("… ([0-9,]+) lines", line))
    ]
    whole = [line for line in lines if line in put]
    assert whole == sorted(whole, key=put.index)
    if put and len(put[-1]) < max(1, budget // 8):
        assert lines[-1] == put[-1]
    if not lost:
        assert lines == put
    assert sum(lost) <= len(put)
    assert sum(lost) + len([line for line in lines if line and line[0] != "…"]) >= len(put) - 1
