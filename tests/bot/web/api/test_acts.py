"""What a program does by the API, and what it follows."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from sqlmodel import col, select

from bot.store.logs import FileLogs
from bot.store.tables import Answered, Job, JobState, Lock, Repository
from bot.sweeps import retention
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.web.api.conftest import Asked
from tests.bot.web.pages import town
from workers.contract.messages import now

LOCKS = "/repositories/acme/shop/locks"
SECRETS = "/repositories/acme/shop/secrets"


async def test_a_request_that_comes_again_with_its_key_is_answered_as_before_and_done_once(
    asked: Asked,
) -> None:
    first = await asked.post(LOCKS, key="one", environment="production", actor="ada", why="a fair")
    again = await asked.post(LOCKS, key="one", environment="production", actor="ada", why="a fair")
    other = await asked.post(LOCKS, key="one", environment="production", actor="grace")

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


async def test_a_key_is_for_one_path_and_what_was_refused_may_be_asked_again(asked: Asked) -> None:
    held = await asked.post("/environments/2/stop", key="two")
    async with asked.store.transaction() as session:
        [lock] = [row for row in (await session.exec(_locks())).all() if row.environment == "staging"]
        await session.delete(lock)
    done = await asked.post("/environments/2/stop", key="two")
    elsewhere = await asked.post("/environments/1/stop", key="two")

    assert (held.status_code, done.status_code, elsewhere.status_code) == (409, 202, 202)
    assert "grace" in held.json()["held"][0]
    assert done.json()["run"] != elsewhere.json()["run"]


async def test_whoever_asks_while_the_first_is_under_way_is_told_so(asked: Asked) -> None:
    first = await asked.post(LOCKS, key="three", environment="production")
    assert first.status_code == 201
    async with asked.store.transaction() as session:
        [row] = (await session.exec(_answers())).all()
        row.status = 0

    again = await asked.post(LOCKS, key="three", environment="production")

    assert (again.status_code, again.json()["code"]) == (409, "in_progress")


async def test_keys_are_forgotten_after_a_day(asked: Asked, tmp_path: Any) -> None:
    await asked.post(LOCKS, key="old", environment="production")
    await asked.post(LOCKS, key="new", environment="preview")
    async with asked.store.transaction() as session:
        [old, _] = (await session.exec(_answers())).all()
        old.created_at = now() - timedelta(hours=25)

    await retention.sweep(asked.store, FileLogs(tmp_path / "none"), 30, 30)

    async with asked.store.reading() as session:
        assert len((await session.exec(_answers())).all()) == 1


async def test_jobs_and_runs_are_cancelled_by_whom_and_why(asked: Asked) -> None:
    job = await asked.post("/jobs/3-2/cancel", actor="ada", why="wrong branch")
    run = await asked.post("/runs/3/cancel", actor="ada")

    assert (job.status_code, run.status_code) == (202, 202)
    shown = {one["id"]: one for one in (await asked.json("/runs/3"))["jobs"]}
    assert (shown["3-2"]["state"], shown["3-2"]["sentence"]) == (
        "cancelled",
        "Cancelled by ada: wrong branch",
    )
    assert (shown["3-1"]["state"], shown["3-1"]["cancelling"]) == ("running", "Cancelled by ada")
    assert shown["3-3"]["state"] == "cancelled"


async def test_a_lock_is_its_owners_and_is_freed_by_its_number(asked: Asked) -> None:
    taken = await asked.post(LOCKS, environment="production", actor="ada")
    refused = await asked.post(LOCKS, environment="production", actor="grace")
    freed = await asked.http.delete(f"/api/v1{LOCKS}/{taken.json()['id']}")

    assert (taken.status_code, refused.status_code, freed.status_code) == (201, 409, 204)
    assert [lock["environment"] for lock in await asked.json(LOCKS)] == ["staging"]


async def test_a_secret_is_set_listed_by_name_and_forgotten_and_its_value_is_nowhere(asked: Asked) -> None:
    body = {"name": "DATABASE_URL", "scope": "production", "value": "postgres://hidden"}
    put = await asked.http.put(f"/api/v1{SECRETS}", json=body)
    listed = await asked.get(SECRETS)
    gone = await asked.http.delete(f"/api/v1{SECRETS}/DATABASE_URL?scope=production")

    assert (put.status_code, put.content, gone.status_code) == (204, b"", 204)
    assert [(row["name"], row["scope"]) for row in listed.json()] == [("DATABASE_URL", "production")]
    assert "hidden" not in listed.text
    assert await asked.json(SECRETS) == []


async def test_a_session_is_a_token_that_can_be_ended(asked: Asked) -> None:
    token = asked.http.headers["authorization"].removeprefix("Bearer ")
    headers = {"origin": asked.url}
    async with httpx2.AsyncClient(base_url=asked.url, headers=headers, timeout=60) as browser:
        assert (await browser.post("/sign-in", data={"token": token})).status_code == 303
        assert (await browser.get("/workers")).status_code == 200
        [session] = [one for one in await asked.json("/tokens") if one["kind"] == "session"]

        assert (await asked.http.delete(f"/api/v1/tokens/{session['id']}")).status_code == 204
        assert (await browser.get("/workers")).status_code == 401


async def test_a_log_is_text_or_lines_of_json(asked: Asked) -> None:
    path = f"/jobs/{asked.town.failed.id}/log"
    text = (await asked.get(path)).text
    asks: tuple[tuple[str, dict[str, str]], ...] = (
        ("", {"accept": "application/jsonl"}),
        ("?format=jsonl", {}),
    )
    for query, headers in asks:
        lines = [json.loads(line) for line in (await asked.get(path + query, **headers)).text.splitlines()]
        assert [line["text"] for line in lines] == text.splitlines()
        assert [line["line"] for line in lines] == list(range(1, len(lines) + 1))
        assert all(datetime.fromisoformat(line["at"]).tzinfo for line in lines)
    assert (await asked.get(f"{path}?tail=1")).text == text.splitlines(keepends=True)[-1]
    [last] = (await asked.get(f"{path}?tail=1&format=jsonl")).text.splitlines()
    assert json.loads(last)["text"] == text.splitlines()[-1]
    assert (await asked.get(f"{path}?from=19")).content == text.encode()[19:]


async def test_lines_of_json_have_colours_for_who_asks_and_no_other_escape(
    asked: Asked, tmp_path: Path
) -> None:
    job = asked.town.running.id
    await FileLogs(tmp_path / "logs").append(job, 2, 0, "\x1b[31mred\x1b[0m \x1b[2Jand\x1b\n")
    path = f"/jobs/{job}/log?attempt=2&format=jsonl"

    assert json.loads((await asked.get(path)).text)["text"] == "red [2Jand"
    assert json.loads((await asked.get(path + "&coloured=true")).text)["text"] == "\x1b[31mred\x1b[0m [2Jand"


async def test_a_log_is_followed_from_where_one_was(asked: Asked) -> None:
    path = f"/jobs/{asked.town.failed.id}/log"
    text = (await asked.get(path)).content
    start = text.index(b"\n") + 1
    async with events(asked, f"{path}/events", {"last-event-id": str(start)}) as told:
        parts = ""
        async for kind, data, number in told:
            if kind == "end":
                break
            if kind == "log":
                parts, last = parts + data, number
    assert parts.encode() == text[start:]
    assert last == len(town.FAILING.encode())  # of the log as it is kept, colours included


async def test_events_tell_of_runs_jobs_and_their_ends_as_they_happen(asked: Asked) -> None:
    rows = Rows(asked.store, runs=10)
    async with asyncio.timeout(60), events(asked, "/events") as told:
        heard = aiter(told)
        # Only what changes after it was opened is told, so something changes until it is.
        stop = asyncio.Event()

        async def act() -> None:
            run = await rows.run("9" * 40)
            job = await rows.job(run, 1)
            while not stop.is_set():
                async with asked.store.transaction() as session:
                    row = await session.get_one(Job, job.id)
                    ended = row.state is JobState.SUCCEEDED
                    row.state = JobState.RUNNING if ended else JobState.SUCCEEDED
                    row.attempt += 1
                await asyncio.sleep(0.3)

        acting = asyncio.create_task(act())
        found: dict[str, Any] = {}
        async for kind, data, number in heard:
            found[kind] = data
            if kind == "job" and data["run_id"] == number and data["repository"] == "acme/shop":
                break
        stop.set()
        await acting
    assert found["job"]["sha"] == "9" * 40


async def test_events_go_on_where_one_was(asked: Asked) -> None:
    async with asyncio.timeout(60), events(asked, "/events", {"last-event-id": "2"}) as told:
        seen: list[tuple[str, Any]] = []
        async for kind, data, _ in told:
            seen.append((kind, data["id"]))
            if ("job", "3-3") in seen and ("job", "4-2") in seen:
                break
    assert seen[:2] == [("run", 3), ("run", 4)]


def events(asked: Asked, path: str, headers: dict[str, str] | None = None) -> Any:
    """What a stream tells: kind, what is said, and its number."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[AsyncIterator[tuple[str, Any, int]]]:
        async with asked.http.stream("GET", f"/api/v1{path}", headers=headers or {}) as answer:
            assert answer.status_code == 200

            async def parts() -> AsyncIterator[tuple[str, Any, int]]:
                kind, number = "", 0
                async for line in answer.aiter_lines():
                    name, _, value = line.partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "id":
                        number = int(value)
                    elif name == "data":
                        yield kind, json.loads(value), number

            yield parts()

    return opened()


def _locks() -> Any:
    return select(Lock)


def _answers() -> Any:
    return select(Answered).order_by(col(Answered.created_at))


async def test_badges_of_public_repositories_are_open_and_of_others_nothing_is_told(asked: Asked) -> None:
    build, place = "/badges/acme/shop/build.svg", "/badges/acme/shop/environments/production.svg"
    async with httpx2.AsyncClient(base_url=asked.url, timeout=60) as stranger:
        private = [await stranger.get(path) for path in (build, place)]
        unknown = await stranger.get("/badges/acme/none/build.svg")
        mine = await asked.http.get(build)
        async with asked.store.transaction() as session:
            (await session.get_one(Repository, REPOSITORY)).private = False
        public = [await stranger.get(path) for path in (build, place)]
        kept = await stranger.get(build, headers={"if-none-match": public[0].headers["etag"]})
        nothing = await stranger.get("/badges/acme/shop/environments/none.svg")

    assert {answer.status_code for answer in (*private, unknown)} == {404}
    assert {answer.text for answer in private} == {unknown.text}
    assert (mine.status_code, mine.headers["content-type"]) == (200, "image/svg+xml")
    assert "main: failing" in public[0].text
    assert "production: live 2222222" in public[1].text
    assert "none: unknown" in nothing.text
    assert kept.status_code == 304


async def test_what_a_badge_is_asked_about_is_no_markup_in_it(asked: Asked) -> None:
    shown = await asked.http.get("/badges/acme/shop/build.svg", params={"branch": "<script>"})
    assert "<script>" not in shown.text
    assert "&lt;script&gt;" in shown.text
