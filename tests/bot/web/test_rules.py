"""Every route of the app, asked by a stranger, a reader, a writer, an admin: each may what its rule says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bot.store.database import Store
from bot.web.guard import WHO, Guard
from bot.web.rights import Right, Who
from bot.web.rules import WS, Of, Rule, every
from tests.bot.web.people import OUTSIDER, ROOT, Browser, Things, Village, village
from tests.github import GitHub

HAS = {
    OUTSIDER: Right.NONE,
    "rita": Right.READ,
    "walt": Right.DEPLOY,
    "grace": Right.ADMIN,
    ROOT: Right.ADMIN,
}
BODIES = {
    "promote": {"from": "staging"},
    "maintenance": {"on": False},
    "runs": {"repository": "acme/shop"},
    "restore": {"confirm": "production"},
    "webhooks": {"url": "http://127.0.0.1:9/"},
    "update": {"service": "db"},
    "secrets": {"name": "KEY", "value": "x"},
}
THEIRS = ("acme/shop", "shops-own", "shop.test")


@pytest.fixture
async def here(
    tmp_path: Path, github: GitHub, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Village]:
    async with village(tmp_path, github, tables, monkeypatch, exec=True) as made:
        yield made


def path_of(name: str, of: Of, things: Things) -> str:
    """A route's path, for a thing of acme/shop."""
    number = {Of.RUN: things.run, Of.ENVIRONMENT: things.environment, Of.RELEASE: things.release}.get(of, 1)
    path = name.partition(" ")[2].replace("{id:int}", str(number))
    path = path.replace("{id}", things.job if of is Of.JOB else str(number))
    path = path.replace("{owner}/{name}", "acme/shop").replace("{guid}", things.delivery)
    path = path.replace("{name}", "oak-1").replace("{secret}", "KEY").replace("{environment}", "production")
    path = path.replace("{act}", "open").replace("{task}", "nightly")
    path = path.replace("{channel}", "ops").replace("{delivery:int}", "1")
    return f"{path}?q=main" if path.endswith("/why") else path


async def asked(browser: Browser, method: str, path: str, authorization: dict[str, str]) -> tuple[int, str]:
    """Status and body; of what goes on for minutes the status alone."""
    programs = path.startswith(("/api/", "/metrics"))
    looks = {"origin": browser.url, "accept": "text/html", **({} if browser.csrf else authorization)}
    headers = authorization if programs else looks
    if method == WS:
        return await opened(browser, path, headers)
    form = {} if programs else {"csrf": browser.csrf, "name": "x", "scope": "read"}
    body = {"json": BODIES.get(path.rpartition("/")[2], {})} if programs else {"data": form}
    given = body if method in ("POST", "PUT") else {}
    async with browser.http.stream(method, path, headers=headers, **given) as answer:
        endless = answer.headers.get("content-type", "").startswith("text/event-stream")
        text = "" if endless else (await answer.aread()).decode()
    return answer.status_code, text


async def opened(browser: Browser, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """The same, of a WebSocket."""
    cookies = "; ".join(f"{name}={value}" for name, value in browser.http.cookies.items())
    line = f"{browser.url.replace('http', 'ws', 1)}{path}"
    try:
        async with connect(
            line, additional_headers={**headers, "cookie": cookies}, proxy=None, open_timeout=60
        ):
            return 101, ""
    except InvalidStatus as error:
        return error.response.status_code, (error.response.body or b"").decode()


def expected(rule: Rule, has: Right | None, root: bool) -> set[int] | None:
    """What is answered, None for anything that is no refusal."""
    if rule.of is Of.ANYBODY:
        return None
    if has is None and rule.of is Of.BADGE:
        return {404}  # as of what is not there
    if has is None:
        return {401, 303}  # to the form, for who looks with a browser
    if rule.of is Of.INSTANCE:
        return None if root else {403}
    if rule.of in (Of.KNOWN, Of.SOME):
        return None
    if has < Right.READ:
        return {422} if rule.of is Of.NAMED else {404}
    return {403} if has < rule.right else None


async def test_every_route_has_a_rule_and_every_rule_a_route(here: Village) -> None:
    [web] = here.made

    assert {name for name, _ in every(web.routes)} == set(web.state.rules)


async def test_what_changes_something_is_written_down(here: Village) -> None:
    [web] = here.made
    for name, rule in web.state.rules.items():
        if " /api/" in name and not name.startswith("GET "):
            assert rule.audited, name


async def test_each_may_what_the_rule_of_a_route_says_and_sees_nothing_else(here: Village) -> None:
    things = await Things.made(here.talk)
    browsers: dict[str | None, Browser] = {login: await here.signed_in(login) for login in HAS}
    browsers[None] = await here.somebody()
    wrong = [one for login, seen in browsers.items() for one in await walked(here, things, login, seen)]

    assert wrong == []


async def walked(
    here: Village, things: Things, login: str | None, browser: Browser
) -> list[tuple[object, ...]]:
    """What is wrong with the answers that somebody gets, of every route."""
    [web] = here.made
    authorization = await here.token(login) if login else {}
    # What ends the token, the session, and what signs in, comes last.
    names = sorted(
        (name for name, _ in every(web.routes)), key=lambda name: ("sign" in name, "revoke" in name)
    )
    wrong: list[tuple[object, ...]] = []
    for name in names:
        rule, method = web.state.rules[name], name.partition(" ")[0]
        path = path_of(name, rule.of, things)
        status, text = await asked(browser, method, path, authorization)
        wanted = expected(rule, HAS[login] if login else None, login == ROOT)
        refused = status in (401, 403, 503) or (status == 404 and f"no such {rule.of.value}" in text)
        if rule.of is not Of.ANYBODY and (refused if wanted is None else status not in wanted):
            wrong.append((login, name, status, wanted, text[:200]))
        if login in (None, OUTSIDER) and any(word in unsaid(text, path) for word in THEIRS):
            wrong.append((login, name, status, "tells of acme/shop", text[:200]))
        if status == 500:
            wrong.append((login, name, status, "broke", text[:200]))
    return wrong


def unsaid(text: str, path: str) -> str:
    """An answer without what was asked for, which it may say again."""
    return text.replace(path, "").replace("heard of acme/shop", "")


async def test_what_one_may_not_read_is_answered_as_what_is_not_there(here: Village) -> None:
    things = await Things.made(here.talk)
    nothing = Things(9999, "9999-1", 9999, 9999, "nobodys")
    browser, authorization = await here.signed_in(OUTSIDER), await here.token(OUTSIDER)
    [web] = here.made
    for name, rule in web.state.rules.items():
        if rule.of in (Of.ANYBODY, Of.KNOWN, Of.SOME, Of.INSTANCE, Of.NAMED):
            continue
        method = name.partition(" ")[0]
        hidden, missing = path_of(name, rule.of, things), path_of(name, rule.of, nothing)
        if rule.of in (Of.REPOSITORY, Of.BADGE):
            missing = hidden.replace("acme/shop", "acme/nothing")
        theirs = await asked(browser, method, hidden, authorization)
        none = await asked(browser, method, missing, authorization)
        assert theirs == (none[0], none[1].replace(missing, hidden)), name
        assert theirs[0] == 404, name


async def test_a_repository_that_a_body_names_is_hidden_from_who_may_not_read_it(here: Village) -> None:
    async def answered(login: str, repository: str) -> tuple[int, str]:
        token, body = await here.token(login), {"repository": repository, "environment": "staging"}
        answer = await here.talk.api.post("/runs", json=body, headers=token)
        return answer.status_code, answer.text.replace(repository, "")

    await Things.made(here.talk)
    assert await answered(OUTSIDER, "acme/shop") == await answered(OUTSIDER, "acme/nothing")
    assert (await answered("rita", "acme/shop"))[0] == 403
    assert (await answered("walt", "acme/shop"))[0] == 202
    [row] = await here.audit()
    assert (row.who, row.repository_id) == ("walt", here.talk.repository.id)


async def test_why_and_the_events_tell_of_what_the_asker_may_read_alone(here: Village) -> None:
    things = await Things.made(here.talk)
    otto, rita = await here.token(OUTSIDER), await here.token("rita")
    for question in ("main", str(things.run), things.job, f"https://x.test/deliveries/{things.delivery}"):
        hidden = await here.talk.api.get("/why", params={"q": question}, headers=otto)
        named = await here.talk.api.get(
            "/why", params={"q": question, "repository": "acme/shop"}, headers=otto
        )
        shown = await here.talk.api.get("/why", params={"q": question}, headers=rita)
        assert (hidden.status_code, named.status_code, shown.status_code) == (404, 404, 200), question
    told: dict[str, set[str]] = {}
    for login, token in ((OUTSIDER, otto), ("rita", rita)):
        since = {**token, "last-event-id": "0"}
        async with here.talk.api.stream("GET", "/events", headers=since) as answer:
            lines = answer.aiter_lines()
            run = await here.another_run("acme/other", login)
            told[login] = set()
            async with asyncio.timeout(60):
                async for line in lines:
                    if line.startswith("data:"):
                        told[login].add(json.loads(line[5:])["repository"])
                        if f'"id":{run},' in line:
                            break
    assert told == {OUTSIDER: {"acme/other"}, "rita": {"acme/shop", "acme/other"}}


async def test_a_programs_token_sees_its_repositories_and_nothing_of_people(here: Village) -> None:
    things = await Things.made(here.talk)
    await here.signed_in("walt")
    await here.token("walt", name="laptop")
    other = here.github.world.find("acme", "other")
    assert other
    program, browser = await here.token(repositories=[other.id]), await here.somebody()
    [web] = here.made
    for name, rule in web.state.rules.items():
        if rule.of in (Of.KNOWN, Of.SOME) and name.startswith("GET"):
            path = path_of(name, rule.of, things)
            status, text = await asked(browser, "GET", path, program)
            assert status == (404 if path.endswith("/why?q=main") else 200), name
            assert not any(word in text for word in (*THEIRS, "walt", "laptop")), name


async def test_a_route_without_a_rule_is_for_administrators_alone(store: Store) -> None:
    async def told(_request: Request) -> Response:
        return Response("told")

    app = Starlette(routes=Guard(store, None).before([Route("/new", told)]))

    async def status(known: Who | None) -> int:
        async def as_known(scope: Scope, receive: Receive, send: Send) -> None:
            scope[WHO] = known
            await app(scope, receive, send)

        wire = httpx2.ASGITransport(as_known)
        async with httpx2.AsyncClient(transport=wire, base_url="http://x") as http:
            return (await http.get("/new")).status_code

    assert await status(None) == 401
    assert await status(Who("ci", "the token ci")) == 403
    assert await status(Who("api", "the API's token", instance=True)) == 200


@pytest.mark.parametrize("route", [WebSocketRoute("/shell", print), Mount("/files", app=Response())])
def test_what_no_rule_can_stand_before_is_not_served(store: Store, route: BaseRoute) -> None:
    with pytest.raises(TypeError, match="no route that a rule stands before"):
        Guard(store, None).before([route])
