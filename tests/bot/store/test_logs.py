"""The log store keeps each character once, in its place."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import NoReturn

import pytest

from bot.store.logs import FileLogs
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Event, LogChunk
from workers.output.logs import LogSink
from workers.process import process


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    return FileLogs(tmp_path / "logs")


async def content(logs: FileLogs, job: str, attempt: int, start: int = 0) -> str:
    return b"".join([part async for part in logs.read(job, attempt, start)]).decode()


async def test_chunks_follow_each_other(logs: FileLogs) -> None:
    await logs.append("1-1", 1, 0, "one\n")
    await logs.append("1-1", 1, 4, "zwei ü\r\n")
    await logs.append("1-1", 1, 12, "🚀\n")

    assert await content(logs, "1-1", 1) == "one\nzwei ü\r\n🚀\n"


@pytest.mark.parametrize(
    ("offset", "text", "whole"),
    [
        (0, "0123456789", "0123456789"),
        (0, "0123", "0123456789"),
        (4, "456789", "0123456789"),
        (8, "89ab", "0123456789ab"),
        (0, "0123456789ab", "0123456789ab"),
        (10, "", "0123456789"),
    ],
)
async def test_what_is_there_already_is_not_added_twice(
    logs: FileLogs, offset: int, text: str, whole: str
) -> None:
    await logs.append("1-1", 1, 0, "0123456789")
    await logs.append("1-1", 1, offset, text)

    assert await content(logs, "1-1", 1) == whole


@pytest.mark.parametrize("gap", [1, 10, 38, 39, 40, 5000])
async def test_a_gap_is_told_and_keeps_later_offsets_true(logs: FileLogs, gap: int) -> None:
    await logs.append("1-1", 1, 0, "start\n")
    await logs.append("1-1", 1, 6 + gap, "after")
    await logs.append("1-1", 1, 6 + gap + 5, " all")

    whole = await content(logs, "1-1", 1)
    assert len(whole) == 6 + gap + 9
    assert whole.startswith("start\n")
    assert whole.endswith("after all")
    assert gap < 100 or f"[{gap} characters of the log are lost]\n" in whole


async def test_a_repeat_after_a_restart_is_known_by_its_offset(logs: FileLogs, tmp_path: Path) -> None:
    await logs.append("1-1", 1, 0, "zwölf 🚀\r\n")

    again = FileLogs(tmp_path / "logs")
    await again.append("1-1", 1, 0, "zwölf 🚀\r\n")
    await again.append("1-1", 1, 9, "next")

    assert await content(again, "1-1", 1) == "zwölf 🚀\r\nnext"


async def test_two_bots_with_one_folder_each_see_what_the_other_added(tmp_path: Path) -> None:
    first, second = FileLogs(tmp_path / "logs"), FileLogs(tmp_path / "logs")
    await first.append("1-1", 1, 0, "one\n")
    await second.append("1-1", 1, 4, "zwei ü\n")
    await first.append("1-1", 1, 4, "zwei ü\ndrei\n")
    await second.append("1-1", 1, 16, "four\n")

    assert await content(first, "1-1", 1) == "one\nzwei ü\ndrei\nfour\n"


async def test_attempts_and_jobs_have_logs_of_their_own(logs: FileLogs) -> None:
    await logs.append("1-1", 1, 0, "first")
    await logs.append("1-1", 2, 0, "second")
    await logs.append("1-2", 1, 0, "other")

    assert [await content(logs, *place) for place in (("1-1", 1), ("1-1", 2), ("1-2", 1), ("9-9", 1))] == [
        "first",
        "second",
        "other",
        "",
    ]


@pytest.mark.parametrize("job", ["", "..", "../1-1", "1-1/..", "1-1\n", "/etc", "1", "a-b"])
async def test_what_is_no_jobs_id_reaches_no_file(logs: FileLogs, job: str) -> None:
    with pytest.raises(ValueError, match="is no job's id"):
        await logs.append(job, 1, 0, "x")


async def test_the_logs_of_jobs_that_are_gone_go_but_not_one_that_has_just_begun(
    logs: FileLogs, tmp_path: Path
) -> None:
    for job in ("1-1", "2-1", "3-1"):
        await logs.append(job, 1, 0, job)
    for job in ("1-1", "2-1"):
        os.utime(tmp_path / "logs" / job, (0, 0))

    await logs.keep_only({"1-1"})

    assert [await content(logs, job, 1) for job in ("1-1", "2-1", "3-1")] == ["1-1", "", "3-1"]
    await logs.append("2-1", 1, 3, "new")
    assert len(await content(logs, "2-1", 1)) == 6


async def test_a_chunk_that_a_killed_bot_wrote_half_of_is_completed(logs: FileLogs, tmp_path: Path) -> None:
    await logs.append("1-1", 1, 0, "one\n")
    file = tmp_path / "logs" / "1-1" / "1.log"
    file.write_bytes(file.read_bytes() + "zw🚀".encode()[:-1])

    again = FileLogs(tmp_path / "logs")
    await again.append("1-1", 1, 4, "zw🚀ölf\n")

    assert await content(again, "1-1", 1) == "one\nzw🚀ölf\n"


async def test_a_worker_that_keeps_to_no_budget_fills_no_disk(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path / "logs", budget=1000)
    await logs.append("1-1", 1, 0, "first\n")
    await logs.append("1-1", 1, 10**15, "far away")
    await logs.append("1-1", 1, 6, "ü" * 2_000_000)
    for again in (logs, FileLogs(tmp_path / "logs", budget=1000)):
        await again.append("1-1", 1, 6 + 2_000_000, "more")

    text = await content(logs, "1-1", 1)
    assert text.startswith("first\nüü")
    assert text.endswith("ü\n[The rest of this log is not kept: it is larger than LOG_BUDGET allows]\n")
    assert len(text.encode()) < 1_100_000


async def test_a_log_is_read_on_from_where_a_reader_was(logs: FileLogs) -> None:
    text = "zwölf\n" * 200_000
    await logs.append("1-1", 1, 0, text)

    assert await content(logs, "1-1", 1) == text
    assert await content(logs, "1-1", 1, 7 * 199_999) == "zwölf\n"
    assert await content(logs, "1-1", 1, 7 * 200_000) == ""
    assert await content(logs, "1-1", 1, 10**9) == ""


@pytest.mark.parametrize(
    ("text", "lines", "tail"),
    [
        ("", 3, ""),
        ("one\ntwo\nthree\n", 2, "two\nthree\n"),
        ("one\ntwo\nthree", 2, "two\nthree"),
        ("one\ntwo\n", 9, "one\ntwo\n"),
        ("one\ntwo\n", 0, ""),
        ("a\n\n\n", 2, "\n\n"),
        ("line\n" * 400_000 + "the end\n", 100_000, "line\n" * 99_999 + "the end\n"),
        ("x\n" + "ü" * 800_000 + "\nend\n", 2, "ü" * (512 * 1024 - 3) + "\nend\n"),
    ],
)
async def test_the_last_lines_are_read_from_the_end(logs: FileLogs, text: str, lines: int, tail: str) -> None:
    await logs.append("1-1", 1, 0, text)
    assert await logs.tail("1-1", 1, lines) == tail
    assert await logs.tail("1-1", 2, lines) == ""


async def test_what_a_million_lines_leave_is_in_the_store(logs: FileLogs) -> None:
    queue = MemoryQueue()

    async def hear(event: Event) -> None:
        assert isinstance(event, LogChunk)
        await logs.append(event.job, event.attempt, event.offset, event.text)

    async def unasked(_: object) -> NoReturn:
        raise AssertionError

    serving = asyncio.create_task(queue.serve(unasked, hear, unasked))
    try:
        async with LogSink(queue.tell, "1-1", 1, ["line 7"], 8 * 1024 * 1024).pumped() as sink:
            env = {"PATH": os.environ["PATH"]}
            await process.run(["seq", "-f", "line %.0f", "1000000"], env=env, output=sink.write)
        async with asyncio.timeout(60):
            while not (tail := await logs.tail("1-1", 1, 1)).endswith("line 1000000\n"):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    finally:
        serving.cancel()
    text = await content(logs, "1-1", 1)
    assert tail == "line 1000000\n"
    assert text.startswith("line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n***\nline 8\n")
    [told] = re.findall(r"… ([0-9,]+) lines \(.*\) are left out", text)
    assert text.count("\n") - 2 + int(told.replace(",", "")) == 1_000_000
    assert "are lost" not in text
