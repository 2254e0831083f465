"""Who gets a shell in what runs, from where, until when; and what is written down of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlmodel import select
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bot.fleet import shells as relaying
from bot.store import audit
from bot.store.audit import Changed
from bot.store.outages import StoreDown
from bot.store.tables import Release, TokenRow
from tests.bot.web.people import OUTSIDER, ROOT, Things, Village, village
from tests.github import GitHub
from workers.contract.messages import ShellOrder
from workers.contract.shells import Began, Close, ShellSaid


@pytest.fixture
async def here(
    tmp_path: Path,
    github: GitHub,
    tables: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Village]:
    settings = getattr(request, "param", {"exec": True})
    async with village(tmp_path, github, tables, monkeypatch, **settings) as made:
        yield made


async def asks(here: Village, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """What somebody is told who wants a shell: 101 and why it did not begin, or the status that refuses."""
    line = f"{here.url.replace('http', 'ws', 1)}{path}"
    try:
        async with connect(line, additional_headers=headers, proxy=None, open_timeout=60) as socket:
            await socket.send('{"kind": "wanted", "command": ["true"], "tty": false}')
            async with asyncio.timeout(60):
                said = json.loads(await socket.recv())
            return 101, said["sentence"]
    except InvalidStatus as error:
        told = json.loads(error.response.body or b"{}")
        return error.response.status_code, told.get("detail", "") if isinstance(told, dict) else ""


async def test_a_shell_is_for_who_administrates_the_repository_alone(here: Village) -> None:
    things = await Things.made(here.talk)
    path = f"/api/v1/environments/{things.environment}/exec"
    told = {
        who: await asks(here, path, headers)
        for who, headers in {
            "nobody": {},
            "a stranger": await here.token(OUTSIDER),
            "a reader": await here.token("rita"),
            "a writer": await here.token("walt"),
            "an admin's token that deploys": await here.token("grace", "deploy"),
            "an admin": await here.token("grace"),
            "the instance's": await here.token(ROOT),
        }.items()
    }

    assert {who: status for who, (status, _) in told.items()} == {
        "nobody": 401,
        "a stranger": 404,
        "a reader": 403,
        "a writer": 403,
        "an admin's token that deploys": 403,
        "an admin": 101,
        "the instance's": 101,
    }
    assert told["an admin"][1] == "nobody knows which worker has its containers"


async def test_a_shell_that_is_not_opened_is_told_why(here: Village) -> None:
    things = await Things.made(here.talk)
    path, grace = f"/api/v1/environments/{things.environment}/exec", await here.token("grace")

    assert await asks(here, "/api/v1/environments/999/exec", grace) == (
        404,
        "there is no such environment",
    )
    root = await here.token(ROOT)
    assert await asks(here, "/api/v1/environments/999/exec", root) == (404, "there is no such environment")
    elsewhere = {**grace, "origin": "https://evil.example"}
    assert await asks(here, path, elsewhere) == (403, "a web page of another place may change nothing here")
    assert (await asks(here, path, {**grace, "origin": here.url}))[0] == 101
    # No other path becomes a WebSocket: it is answered as without one.
    assert (await asks(here, "/api/v1/environments", grace))[0] == 200
    async with here.talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.worker = "oak-1"
    assert await asks(here, path, grace) == (101, "worker oak-1 is not connected: is it up?")


async def test_what_is_no_question_is_told_what_one_is_and_is_written_nowhere(here: Village) -> None:
    things, grace = await Things.made(here.talk), await here.token("grace")
    line = f"{here.url.replace('http', 'ws', 1)}/api/v1/environments/{things.environment}/exec"
    for text, sent in [
        (True, b'{"kind": "wanted", "command": ["a\\u0000b"]}'),
        (True, b'{"kind": "wanted", "process": "\\u0000"}'),
        (True, b'{"kind": "eof"}'),
        (True, b'{"kind": "wanted", "command": ["\xff"]}'),
        (True, b""),
        (False, b'{"kind": "wanted"}'),
    ]:
        async with (
            asyncio.timeout(60),
            connect(line, additional_headers=grace, proxy=None, open_timeout=None) as socket,
        ):
            await socket.send(sent, text=text)
            over = json.loads(await socket.recv())
        assert (over["why"], "say what you want to run" in over["sentence"]) == ("refused", True), sent
    assert not [row for row in await here.audit() if "shell" in row.what]


async def test_a_store_that_is_away_is_told_and_no_stack_trace_is(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    things, grace = await Things.made(here.talk), await here.token("grace")
    async with here.talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.worker = "oak-1"
    path = f"/api/v1/environments/{things.environment}/exec"

    async def away(_store: object, changed: Changed) -> None:
        if changed.what.startswith(missing):
            raise StoreDown("the store does not answer: it is away")

    monkeypatch.setattr(audit, "written", away)
    missing = "opened"
    status, sentence = await asks(here, path, grace)
    assert (status, "ask again" in sentence) == (101, True)
    missing = "ended"  # whose shell it was is told how it ended all the same
    assert await asks(here, path, grace) == (101, "worker oak-1 is not connected: is it up?")


@pytest.mark.parametrize("here", [{}], indirect=True)
async def test_shells_are_off_where_nobody_has_set_that_they_are_on(here: Village) -> None:
    things = await Things.made(here.talk)
    path = f"/api/v1/environments/{things.environment}/exec"

    status, said = await asks(here, path, await here.token(ROOT))
    assert (status, "BLACKTREE_EXEC=true" in said) == (403, True)
    assert (await asks(here, path, await here.token(OUTSIDER)))[0] == 404, "who may not know learns nothing"
    page = await (await here.signed_in("grace")).get(f"/environments/{things.environment}/shell")
    assert "BLACKTREE_EXEC=true" in page.text


async def test_a_session_opens_a_shell_from_a_page_of_ours_alone(here: Village) -> None:
    things = await Things.made(here.talk)
    browser, path = await here.signed_in("grace"), f"/environments/{things.environment}/shell"
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in browser.http.cookies.items())}

    assert (await asks(here, path, {**cookie, "origin": here.url}))[0] == 101
    assert (await asks(here, path, cookie))[0] == 403
    assert (await asks(here, path, {**cookie, "origin": "http://127.0.0.1:1"}))[0] == 403
    assert (await asks(here, path, {**cookie, "origin": "null"}))[0] == 403
    api = f"/api/v1/environments/{things.environment}/exec"
    assert (await asks(here, api, {**cookie, "origin": here.url}))[0] == 401
    assert (await browser.get(path)).status_code == 200
    assert (await (await here.signed_in("walt")).get(path)).status_code == 403


async def test_a_token_or_a_right_that_is_taken_away_ends_the_shell(
    here: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "LOOK", 0.1)
    things, queue = await Things.made(here.talk), here.talk.queue
    async with here.talk.store.transaction() as session:
        for release in (await session.exec(select(Release))).all():
            release.worker = "oak-1"
    orders = aiter(queue.orders("oak-1"))

    async def open_until(taken: Callable[[], Awaitable[None]]) -> str:
        line = f"{here.url.replace('http', 'ws', 1)}/api/v1/environments/{things.environment}/exec"
        token = await here.token("grace")
        starting = asyncio.ensure_future(anext(orders))
        await asyncio.sleep(0)  # its queue is there
        async with (
            asyncio.timeout(60),
            connect(line, additional_headers=token, proxy=None, open_timeout=None) as socket,
        ):
            await socket.send('{"kind": "wanted"}')
            order = await starting
            assert isinstance(order, ShellOrder)
            await queue.say(ShellSaid(shell=order.shell, number=0, what=Began(container="shop-1")))
            assert json.loads(await socket.recv())["kind"] == "began"
            await taken()
            over = str(json.loads(await socket.recv())["why"])
        while not isinstance((order := await anext(orders)), ShellOrder) or not isinstance(order.what, Close):
            pass
        return over

    async def revoked() -> None:
        async with here.talk.store.transaction() as session:
            for row in (await session.exec(select(TokenRow))).all():
                await session.delete(row)

    async def demoted() -> None:
        here.talk.repository.collaborators["grace"] = "write"

    assert await open_until(revoked) == "right"
    assert await open_until(demoted) == "right"
    assert [row.what.rpartition(": ")[2] for row in await here.audit() if "ended" in row.what] == [
        "you may not have it any more"
    ] * 2
