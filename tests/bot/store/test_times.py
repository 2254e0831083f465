"""When the lines of a log came, and where each of them is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.colours import each, in_place, plain, plainly
from bot.store.logs import FileLogs, files
from bot.store.times import STEP, written


@pytest.fixture
def logs(tmp_path: Path) -> FileLogs:
    return FileLogs(tmp_path / "logs")


def test_a_byte_came_when_its_record_says(logs: FileLogs, tmp_path: Path) -> None:
    file = tmp_path / "logs" / "1-1" / "1.times"
    file.parent.mkdir(parents=True)
    for byte, moment in ((0, 1000), (10, 1100), (25, 3000)):
        written(file, byte, moment)
    times = logs.times("1-1", 1)

    assert times.at(5) is None  # nothing is read yet
    times.refresh()
    assert [times.at(byte) for byte in (0, 9, 10, 24, 25, 999)] == [1000, 1000, 1100, 1100, 3000, 3000]
    assert list(times.within(5, 25)) == [(5, 1000), (10, 1100)]
    written(file, 30, 4000)
    times.refresh()
    assert list(times.within(25, 99)) == [(25, 3000), (30, 4000)]


async def test_a_log_keeps_its_times_in_steps_and_goes_on_after_a_torn_one(
    logs: FileLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [5_000]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0] * 1_000_000)
    for offset, moment in ((0, 5_000), (4, 5_000 + STEP - 1), (8, 5_000 + STEP), (8, 9_000)):
        clock[0] = moment
        await logs.append("1-1", 1, offset, "abc\n")
    with (tmp_path / "logs" / "1-1" / "1.times").open("ab") as file:
        file.write(b"torn")
    await FileLogs(tmp_path / "logs").append("1-1", 1, 12, "end\n")

    times = logs.times("1-1", 1)
    times.refresh()
    assert list(times.within(0, 99)) == [(0, 5_000), (8, 5_000 + STEP), (12, 9_000)]


async def test_a_log_of_before_has_no_times(logs: FileLogs, tmp_path: Path) -> None:
    await logs.append("1-1", 1, 0, "old\n")
    assert [file.name for file in files(tmp_path / "logs")] == ["1.log", "1.times"]
    (tmp_path / "logs" / "1-1" / "1.times").unlink()
    times = logs.times("1-1", 1)
    times.refresh()

    assert (times.at(0), list(times.within(0, 4))) == (None, [])


@pytest.mark.parametrize("text", ["", "one", "one\n", "one\ntwo\n", "one\n\nthree", "ü\n" * 200_000])
@pytest.mark.parametrize("line", [0, 1, 2, 150_000, 10**8, -1, -2, -(10**8)])
async def test_a_line_is_found_by_its_number(logs: FileLogs, text: str, line: int) -> None:
    await logs.append("1-1", 1, 0, text)
    found = await logs.place("1-1", 1, line)
    lines = text.encode().splitlines(keepends=True)

    assert found.lines == len(lines)
    assert found.line == max(0, min(len(lines), line if line >= 0 else len(lines) + line))
    assert found.byte == sum(map(len, lines[: found.line]))
    assert await logs.number("1-1", 1, found.byte) in (found.line, found.lines - 1)


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (b"plain \xc3\xbc\n", b"plain \xc3\xbc\n"),
        (b"\x1b[1;31mred\x1b[0m\n", b"red\n"),
        (b"\x1b]8;;http://x\x1b\\a\x1b", b"]8;;http://x\\a"),  # what no worker of ours tells
    ],
)
async def test_colours_are_left_out_however_a_log_is_read(kept: bytes, shown: bytes) -> None:
    assert plain(kept) == shown
    for size in (1, 2, 3, 100):

        async def read(size: int = size) -> AsyncIterator[bytes]:
            for start in range(0, len(kept), size):
                yield kept[start : start + size]

        for skip in (0, 2, 100):
            assert b"".join([part async for part in plainly(read(), skip)]) == shown[skip:]


async def test_times_are_milliseconds_by_the_clock_of_the_bot(logs: FileLogs) -> None:
    before = time.time_ns() // 1_000_000
    await logs.append("1-1", 1, 0, "now\n")
    times = logs.times("1-1", 1)
    times.refresh()

    assert before <= (times.at(0) or 0) <= time.time_ns() // 1_000_000


@pytest.mark.parametrize("cut", range(1, 24))
async def test_what_is_kept_of_a_worker_that_cannot_be_trusted_steers_no_terminal_wherever_it_is_cut(
    cut: int,
) -> None:
    told = b"\x1b[31mred\x1b[0m \x1b[2Jand\x1b]0;x"

    async def parts() -> AsyncIterator[bytes]:
        yield told[:cut]
        yield told[cut:]

    assert b"".join([part async for part in each(in_place, parts())]) == b"\x1b[31mred\x1b[0m ?[2Jand?]0;x"
