"""The log store keeps each character once, in its place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.logs import FileLogs


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    return FileLogs(tmp_path / "logs")


async def test_chunks_follow_each_other(logs: FileLogs) -> None:
    await logs.append("1-1", 1, 0, "one\n")
    await logs.append("1-1", 1, 4, "zwei ü\r\n")
    await logs.append("1-1", 1, 12, "🚀\n")

    assert await logs.read("1-1", 1) == "one\nzwei ü\r\n🚀\n"


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

    assert await logs.read("1-1", 1) == whole


@pytest.mark.parametrize("gap", [1, 10, 38, 39, 40, 5000])
async def test_a_gap_is_told_and_keeps_later_offsets_true(logs: FileLogs, gap: int) -> None:
    await logs.append("1-1", 1, 0, "start\n")
    await logs.append("1-1", 1, 6 + gap, "after")
    await logs.append("1-1", 1, 6 + gap + 5, " all")

    whole = await logs.read("1-1", 1)
    assert len(whole) == 6 + gap + 9
    assert whole.startswith("start\n")
    assert whole.endswith("after all")
    assert gap < 100 or f"[{gap} characters of the log are lost]\n" in whole


async def test_a_repeat_after_a_restart_is_known_by_its_offset(logs: FileLogs, tmp_path: Path) -> None:
    await logs.append("1-1", 1, 0, "zwölf 🚀\r\n")

    again = FileLogs(tmp_path / "logs")
    await again.append("1-1", 1, 0, "zwölf 🚀\r\n")
    await again.append("1-1", 1, 9, "next")

    assert await again.read("1-1", 1) == "zwölf 🚀\r\nnext"


async def test_attempts_and_jobs_have_logs_of_their_own(logs: FileLogs) -> None:
    await logs.append("1-1", 1, 0, "first")
    await logs.append("1-1", 2, 0, "second")
    await logs.append("1-2", 1, 0, "other")

    assert [await logs.read(*place) for place in (("1-1", 1), ("1-1", 2), ("1-2", 1), ("9-9", 1))] == [
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

    assert [await logs.read(job, 1) for job in ("1-1", "2-1", "3-1")] == ["1-1", "", "3-1"]
    await logs.append("2-1", 1, 3, "new")
    assert len(await logs.read("2-1", 1)) == 6
