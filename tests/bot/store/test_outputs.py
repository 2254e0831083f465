"""What containers printed: a stream for each environment, that is short, and whose places stay true."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bot.store.outputs import Kept, Outputs, Said, Wanted

SECOND = 1_000_000_000


def said(at: int, text: str = "", **more: Any) -> Said:
    known = {"process": "web", "name": "shop", "container": "c1", "release": 1}
    return Said(at=at, text=text or f"line {at}", **{**known, **more})


def texts(lines: list[Kept]) -> list[str]:
    return [one.said.text for one in lines]


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path)


async def every(outputs: Outputs, start: int = 0, wanted: Wanted | None = None) -> list[Kept]:
    found: list[Kept] = []
    while True:
        lines, reached = await outputs.read(7, start, wanted or Wanted())
        found += lines
        if reached == start:
            return found
        start = reached


async def test_what_is_told_twice_is_there_once_and_each_container_goes_on_from_where_it_is(
    outputs: Outputs,
) -> None:
    assert await outputs.append(7, [said(1), said(2), said(1, "other", container="c2")]) == {"c1": 2, "c2": 1}
    assert await outputs.append(7, [said(1), said(2), said(3)]) == {"c1": 3, "c2": 1}
    assert texts(await every(outputs)) == ["line 1", "other", "line 2", "line 3"]
    assert await outputs.reached(7) == {"c1": 3, "c2": 1}
    assert await outputs.reached(8) == {}


async def test_the_folder_is_its_users_alone(tmp_path: Path) -> None:
    await Outputs(tmp_path / "outputs").append(7, [said(1)])
    assert (tmp_path / "outputs").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("start", [0, 7])
async def test_where_nothing_was_printed_there_is_nothing_to_read(outputs: Outputs, start: int) -> None:
    assert await outputs.read(7, start) == ([], 0)
    assert (await outputs.tail(7, 10), await outputs.end(7)) == ([], 0)


async def test_who_has_a_line_goes_on_after_it(outputs: Outputs) -> None:
    await outputs.append(7, [said(at) for at in range(1, 6)])
    lines = await every(outputs)
    assert texts(await every(outputs, lines[2].place)) == ["line 4", "line 5"]
    assert await every(outputs, await outputs.end(7)) == []
    assert texts(await every(outputs, 10**9))[0] == "line 1", "a place that there never was in this stream"
    assert texts(await outputs.tail(7, 2)) == ["line 4", "line 5"]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Wanted(), ["GET /", "error: É", "tick"]),
        (Wanted(process="clock"), ["tick"]),
        (Wanted(since=2 * SECOND), ["error: É", "tick"]),
        (Wanted(search="ERROR: é"), ["error: É"]),
        (Wanted(process="clock", search="get"), []),
    ],
)
async def test_lines_are_chosen_by_process_time_and_text(
    outputs: Outputs, wanted: Wanted, found: list[str]
) -> None:
    lines = [said(SECOND, "GET /"), said(2 * SECOND, "error: É"), said(3 * SECOND, "tick", process="clock")]
    await outputs.append(7, lines)
    assert texts(await every(outputs, wanted=wanted)) == found
    assert texts(await outputs.tail(7, 10, wanted)) == found


async def test_the_last_lines_are_found_however_long_they_are_and_in_however_many_files(
    tmp_path: Path,
) -> None:
    outputs = Outputs(tmp_path, budget=16 * 1024 * 1024)
    for batch in range(6):
        lines = [said(batch * 100 + at, "\x01" * (16_000 if at % 7 == 0 else 90)) for at in range(1, 101)]
        await outputs.append(7, lines)
    assert len(list((tmp_path / "7").glob("*.jsonl"))) > 2
    whole = await every(outputs)
    assert len(whole) == 600
    for many in (1, 99, 350, 600, 1000):
        assert await outputs.tail(7, many) == whole[-many:]
    assert await outputs.tail(7, 3, Wanted(process="none")) == []


async def test_a_chatty_environment_keeps_its_end_and_costs_another_nothing(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, budget=1024 * 1024)
    await outputs.append(8, [said(1, "quiet")])
    first = 0
    for batch in range(40):
        await outputs.append(7, [said(batch * 100 + at + 1, "x" * 1000) for at in range(100)])
        first = first or (await every(outputs))[0].place

    size = sum(file.stat().st_size for file in (tmp_path / "7").iterdir())
    assert size < 1.3 * 1024 * 1024
    lines = await every(outputs)
    assert (lines[0].said.at > 100, lines[-1].said.at) == (True, 4000)
    assert await every(outputs, first) == lines, (
        "a place that is forgotten means the beginning of what is kept"
    )
    assert texts(await outputs.tail(8, 5)) == ["quiet"]


@pytest.mark.parametrize("lost", ["note", "half a line"])
async def test_a_bot_that_was_killed_while_it_wrote_doubles_nothing_and_breaks_nothing(
    outputs: Outputs, tmp_path: Path, lost: str
) -> None:
    await outputs.append(7, [said(1)])
    noted = (tmp_path / "7" / "reached.json").read_text()
    await outputs.append(7, [said(2)])
    (tmp_path / "7" / "reached.json").write_text(noted)
    (file,) = (tmp_path / "7").glob("*.jsonl")
    if lost == "half a line":
        os.truncate(file, file.stat().st_size - 5)

    again = Outputs(tmp_path)
    assert await again.reached(7) == {"c1": 2 if lost == "note" else 1}
    await again.append(7, [said(2), said(3)])
    assert texts(await every(again)) == ["line 1", "line 2", "line 3"]


async def test_two_bots_that_share_the_folder_write_one_stream(outputs: Outputs, tmp_path: Path) -> None:
    other = Outputs(tmp_path)
    await outputs.append(7, [said(1)])
    await other.append(7, [said(1), said(2)])
    assert await outputs.append(7, [said(2), said(3)]) == {"c1": 3}
    assert texts(await every(other)) == ["line 1", "line 2", "line 3"]


async def test_what_is_old_goes_and_places_stay_true(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, budget=1)
    outputs._budget = 64 * 1024 * 16
    await outputs.append(7, [said(at, "x" * 1000) for at in range(1, 101)])
    await outputs.append(7, [said(200, "young")])
    await outputs.append(8, [said(1)])
    old, _ = sorted((tmp_path / "7").glob("*.jsonl"))
    os.utime(old, (0, 0))
    end = await outputs.end(7)

    await outputs.keep_only({7}, days=1)

    assert texts(await every(outputs)) == ["young"]
    assert await outputs.end(7) == end
    assert not (tmp_path / "8").exists()
    await outputs.keep_only({7}, days=-1)
    assert await outputs.end(7) == end, "the last file says where the stream is"


async def test_who_follows_is_woken_when_it_grows(outputs: Outputs) -> None:
    with outputs.following(7) as grown:
        await outputs.append(8, [said(1)])
        assert not grown.is_set()
        await outputs.append(7, [said(1)])
        assert grown.is_set()
