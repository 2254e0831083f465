"""What open pages are told while it happens, read from the wire as a browser does."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bot.jobs import lifecycle
from bot.store.logs import FileLogs
from bot.store.tables import Job, JobState
from bot.store.times import STEP
from bot.web.pages.ends import Ends
from bot.web.pages.stream import Line
from bot.web.pages.tails import Piece, Place, Tails, parts
from tests.bot.conftest import Rows
from tests.bot.intake.test_receiver import TOKEN
from tests.bot.web.pages.conftest import Scene

PROMPT = 60.0  # seconds


@dataclass(frozen=True)
class Event:
    kind: str
    text: Any  # of `log` a string
    at: str


@pytest.fixture
async def job(scene: Scene) -> Job:
    rows = Rows(scene.store)
    await scene.sign_in()
    return await rows.job(await rows.run(), state=JobState.RUNNING, attempt=1, worker="oak-1")


def stream(scene: Scene, path: str, **headers: str) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
    return stream_at(scene.http, path, **headers)


@asynccontextmanager
async def stream_at(
    http: httpx2.AsyncClient, path: str, **headers: str
) -> AsyncIterator[AsyncIterator[Event]]:
    async with http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer)


async def events(answer: httpx2.Response) -> AsyncIterator[Event]:
    known: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if not line and known.get("event"):
            yield Event(known["event"], json.loads(known["data"]), known.get("id", ""))
        name, _, value = line.partition(": ")
        known = {**known, name: value} if line else {}


async def until(told: AsyncIterator[Event], kind: str) -> Event:
    async with asyncio.timeout(PROMPT):
        async for event in told:
            if event.kind == kind:
                return event
    raise AssertionError(f"it ended without {kind}")


async def test_a_line_is_told_as_it_comes_and_a_viewer_who_comes_back_gets_the_rest(
    scene: Scene, job: Job
) -> None:
    path = f"/jobs/{job.id}/follow?attempt=1"
    await scene.logs.append(job.id, 1, 0, "one\nzwei: ü\nhal")
    async with stream(scene, path) as told:
        first = await until(told, "log")
        await scene.logs.append(job.id, 1, 15, "f\nthree\n")
        second = await until(told, "log")
    async with stream(scene, path, **{"last-event-id": first.at}) as told:
        again = await until(told, "log")

    assert first.text == "one\nzwei: ü\n"  # the last line is not whole yet
    assert second.text == "half\nthree\n"
    assert again == second
    assert int(second.at) == len("one\nzwei: ü\nhalf\nthree\n".encode())


async def test_lines_come_with_their_numbers_and_times_also_for_who_comes_back(
    scene: Scene, job: Job
) -> None:
    path = f"/jobs/{job.id}/follow?attempt=1"
    began = time.time() * 1000 - 1
    await scene.logs.append(job.id, 1, 0, "one\nzwei: ü\n")
    async with stream(scene, path) as told:
        first = await until(told, "times")
        seen = await until(told, "log")
        await asyncio.sleep(STEP / 1000)
        await scene.logs.append(job.id, 1, 12, "three\nfour\n")
        second = await until(told, "times")
    async with stream(scene, path, **{"last-event-id": seen.at}) as told:
        again = await until(told, "times")

    [[line, moment]] = first.text
    assert (line, began <= moment <= time.time() * 1000) == (0, True)
    assert [line for line, _ in second.text] == [2]
    assert second.text[0][1] >= moment + STEP
    assert again.text == second.text


async def test_the_page_is_told_colours_and_programs_if_they_ask(scene: Scene, job: Job) -> None:
    text = "\x1b[31mred\x1b[0m, no \x1b[2Jmovement\n"
    await scene.logs.append(job.id, 1, 0, text)
    events = f"/api/v1/jobs/{job.id}/log/events"
    bearer = {"authorization": f"Bearer {TOKEN}"}
    async with stream(scene, f"/jobs/{job.id}/follow?attempt=1") as told:
        page = await until(told, "log")
    async with stream(scene, events, **bearer) as told:
        program = await until(told, "log")
    async with stream(scene, events + "?coloured=true", **bearer) as told:
        asking = await until(told, "log")

    assert page.text == asking.text == "\x1b[31mred\x1b[0m, no [2Jmovement\n"
    assert program.text == "red, no [2Jmovement\n"  # which no worker of ours tells
    assert program.at == page.at


async def test_a_log_ends_with_its_job_when_all_of_it_is_told(scene: Scene, job: Job) -> None:
    await scene.logs.append(job.id, 1, 0, "one\nno end of line")
    async with stream(scene, f"/jobs/{job.id}/follow?attempt=1") as told:
        await until(told, "log")
        async with scene.store.transaction() as session:
            row = await session.get_one(Job, job.id)
            assert await lifecycle.move(session, row, JobState.CANCELLED, sentence="stopped")
        assert (await until(told, "job")).text == ""
        assert (await until(told, "log")).text == "no end of line"
        await until(told, "end")


async def test_pages_are_told_that_something_changed(scene: Scene, job: Job) -> None:
    async with stream(scene, "/events") as told:
        waiting = asyncio.create_task(until(told, "changed"))
        async with scene.store.transaction() as session:
            (await session.get_one(Job, job.id)).sentence = "news"
        assert (await waiting).kind == "changed"


async def test_whoever_looks_on_does_not_keep_a_bot_from_stopping(scene: Scene, job: Job) -> None:
    async with stream(scene, f"/jobs/{job.id}/follow?attempt=1") as log, stream(scene, "/events") as changes:
        await scene.logs.append(job.id, 1, 0, "one\n")
        await until(log, "log")
        scene.live.stopping.set()
        async with asyncio.timeout(PROMPT / 2):
            for told in (log, changes):
                async for _ in told:
                    pass


async def test_streams_are_for_who_is_signed_in(scene: Scene, job: Job) -> None:
    scene.http.cookies.clear()
    for path in ("/events", f"/jobs/{job.id}/follow", f"/jobs/{job.id}/log"):
        assert (await scene.http.get(path)).status_code == 401


async def test_fifty_viewers_of_one_log_all_get_all_of_it(scene: Scene, job: Job) -> None:
    lines = [f"line {number} of a build that says much\n" for number in range(5000)]

    async def watches() -> str:
        got = ""
        async with stream(scene, f"/jobs/{job.id}/follow?attempt=1") as told:
            async for event in told:
                got += event.text if event.kind == "log" else ""
                if got.endswith(lines[-1]):
                    return got
        return got

    async with asyncio.TaskGroup() as group:
        viewers = [group.create_task(watches()) for _ in range(50)]
        offset = 0
        for start in range(0, len(lines), 500):
            text = "".join(lines[start : start + 500])
            await scene.logs.append(job.id, 1, offset, text)
            offset += len(text)

    assert {viewer.result() for viewer in viewers} == {"".join(lines)}
    async with asyncio.timeout(PROMPT):
        while scene.logs._followers:  # noqa: ASYNC110 (whoever has gone is noticed a moment later)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("text", "whole", "told"),
    [
        ("", False, []),
        ("a\nb", False, [("a\n", 2)]),
        ("a\nb", True, [("a\n", 2), ("b", 3)]),
        ("é\n", False, [("é\n", 3)]),
    ],
)
async def test_lines_are_told_whole(
    tmp_path: Path, text: str, whole: bool, told: list[tuple[str, int]]
) -> None:
    logs = FileLogs(tmp_path)
    await logs.append("1-1", 1, 0, text)

    found = [(data.decode(), end) async for data, end, _ in parts(logs, "1-1", 1, 0, whole)]
    assert found == told


async def test_a_line_without_an_end_is_told_in_pieces(tmp_path: Path) -> None:
    logs = FileLogs(tmp_path)
    await logs.append("1-1", 1, 0, "x" * 1_000_000)

    found = [part async for part in parts(logs, "1-1", 1, 0, False)]

    assert found
    assert b"".join(data for data, _, _ in found) == b"x" * found[-1][1]


async def test_all_who_look_on_are_one_question_to_the_store_for_each_change(
    scene: Scene, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, asked, look = Ends(scene.store), 0, Ends._over

    async def counted(self: Ends, job: str, attempt: int) -> bool:
        nonlocal asked
        asked += 1
        return await look(self, job, attempt)

    monkeypatch.setattr(Ends, "_over", counted)
    monkeypatch.setattr("bot.web.pages.ends._FRESH", 60.0)
    watching = asyncio.create_task(ends.watch())
    await asyncio.sleep(0)
    assert await asyncio.gather(*(ends.over(job.id, 1) for _ in range(50))) == [False] * 50
    assert (await ends.over(job.id, 1), asked) == (False, 1)

    async with scene.store.transaction() as session:
        row = await session.get_one(Job, job.id)
        assert await lifecycle.move(session, row, JobState.SUCCEEDED)
    async with asyncio.timeout(PROMPT):
        while not await ends.over(job.id, 1):  # noqa: ASYNC110 (it is `watch` that hears of it)
            await asyncio.sleep(0.01)
    assert asked == 2
    watching.cancel()


async def test_who_is_behind_comes_to_the_pieces_that_others_have(tmp_path: Path) -> None:
    logs, far = FileLogs(tmp_path), 5
    lines = [f"{number} says something\n" for number in range(40_000)]
    await logs.append("1-1", 1, 0, "".join(lines))
    tails = Tails(logs)

    async def pieces(place: Place) -> list[Piece]:
        found = []
        while (piece := await tails.next(place, whole=False)) is not None:
            found.append(piece)
            place = replace(place, byte=piece.end, line=piece.line)
        return found

    first = await pieces(Place("1-1", 1, coloured=False, byte=0, line=0))
    behind = await pieces(Place("1-1", 1, coloured=False, byte=len("".join(lines[:far])), line=far))
    assert [piece.end for piece in behind] == [piece.end for piece in first]
    assert all(ours is theirs for ours, theirs in zip(behind[1:], first[1:], strict=True))
    assert [piece.more for piece in first] == [True] * (len(first) - 1) + [False]


async def test_whoever_reads_a_long_log_slowly_is_asked_who_they_are_meanwhile(
    scene: Scene, job: Job
) -> None:
    await scene.logs.append(job.id, 1, 0, f"{'x' * 100}\n" * 20_000)
    line = Line(asyncio.Event())
    told = [event async for event in _until_first_lines(scene.live._log(line, job.id, 1, 0), line)]

    assert len([event for event in told if b"event: log" in event]) == 1


async def _until_first_lines(events: AsyncIterator[bytes], line: Line) -> AsyncIterator[bytes]:
    async for event in events:
        yield event
        if b"event: log" in event:
            line.gone.set()
