"""Tokens at the API: what each may, as whom it orders, and what is written down of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.bot.web.people import ROOT, Things, Village, village
from tests.github import Fault, GitHub


@pytest.fixture
async def here(
    tmp_path: Path, github: GitHub, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Village]:
    async with village(tmp_path, github, tables, monkeypatch) as made:
        yield made


async def status(
    here: Village, method: str, path: str, token: dict[str, str], **body: Any
) -> tuple[int, dict[str, Any]]:
    given: dict[str, Any] = {"json": body} if method == "POST" else {}
    answer = await here.talk.api.request(method, path, headers=token, **given)
    return answer.status_code, answer.json()


async def test_each_token_may_what_its_scope_its_repositories_and_its_person_may(here: Village) -> None:
    things = await Things.made(here.talk)
    shop, other = here.talk.repository.id, here.github.world.find("acme", "other")
    assert other
    wake = f"/environments/{things.environment}/wake"
    look = f"/environments/{things.environment}"
    for token, reads, orders in (
        (await here.token(scope="read"), 200, 403),
        (await here.token(scope="deploy"), 200, 202),
        (await here.token(scope="deploy", repositories=[shop]), 200, 202),
        (await here.token(scope="admin", repositories=[other.id]), 404, 404),
        (await here.token("walt", "deploy"), 200, 202),
        (await here.token("walt", "read"), 200, 403),
        (await here.token("rita", "admin"), 200, 403),
        (await here.token("otto", "admin"), 404, 404),
        (await here.token(ROOT, "read"), 200, 403),
    ):
        assert (await status(here, "GET", look, token))[0] == reads
        assert (await status(here, "POST", wake, token))[0] == orders
        # Who administers the instance may read this with no less than all that they may.
        assert (await status(here, "GET", "/audit", token))[0] == 403
    for token in (await here.token(scope="admin"), await here.token(ROOT, "admin")):
        assert (await status(here, "GET", "/audit", token))[0] == 200


async def test_a_token_orders_as_itself_and_for_nobody_else(here: Village) -> None:
    things = await Things.made(here.talk)
    path, walt = f"/environments/{things.environment}/deploys", await here.token("walt")
    ci = await here.token(scope="deploy")

    posing = await status(here, "POST", path, walt, actor="grace")
    himself = await status(here, "POST", path, walt)
    program = await status(here, "POST", path, ci, why="nightly")

    assert (posing[0], "orders for nobody else" in posing[1]["message"]) == (403, True)
    assert (himself[0], "walt" in himself[1]["message"]) == (409, True)  # he is no deployer
    assert program[0] == 202, program
    [run] = [run for run in await here.talk.runs() if run.cause == "api deploy"]
    assert run.actor == "ci"
    [row] = await here.audit()
    assert (row.who, row.how, row.why, row.address) == ("ci", "the token ci", "nightly", "127.0.0.1")


async def test_somebody_makes_a_token_sees_it_once_and_ends_it(here: Village) -> None:
    await Things.made(here.talk)
    walt = await here.signed_in("walt")

    made = await walt.post("/tokens", name="laptop", scope="deploy", repositories="acme/shop", days="30")
    token = made.text.partition("<code>")[2].partition("</code>")[0]
    bearer = {"authorization": f"Bearer {token}"}
    page = (await walt.get("/tokens")).text

    assert (await status(here, "GET", "/runs", bearer))[0] == 200
    assert "laptop" in page
    assert token not in page
    number = page.partition('action="/tokens/')[2].partition("/")[0]
    assert (await (await here.signed_in("rita")).post(f"/tokens/{number}/revoke")).status_code == 404
    assert (await walt.post(f"/tokens/{number}/revoke")).status_code == 303
    assert (await status(here, "GET", "/runs", bearer))[0] == 401
    assert [row.what for row in await here.audit() if "token" in row.what] == [
        "made the token laptop (deploy)",
        "revoked the token laptop",
    ]


async def test_what_makes_no_token_is_told(here: Village) -> None:
    walt = await here.signed_in("walt")
    for wrong in (
        {"name": ""},
        {"scope": "root"},
        {"days": "0"},
        {"days": "999"},
        {"days": "x"},
        {"repositories": "acme/none"},
    ):
        answer = await walt.post("/tokens", **{"name": "x", "scope": "read", **wrong})
        assert answer.status_code == 400, wrong


async def test_a_token_makes_no_token(here: Village) -> None:
    headers = {**await here.token("walt"), "origin": here.url}
    form = {"name": "x", "scope": "admin"}

    answer = await (await here.somebody()).http.post("/tokens", data=form, headers=headers)

    assert answer.status_code == 403


async def test_a_command_in_a_comment_is_written_down_and_a_look_is_not(here: Village) -> None:
    talk = here.talk
    number, _ = await talk.open_pull({"a": "1"})
    await talk.done(number, "/lock staging the fair is on")
    await talk.done(number, "/status")
    await talk.refused(number, "/lock staging mine", here.github.user("rita"))

    [row] = await here.audit()
    assert (row.who, row.how) == ("ada", "a comment at GitHub")
    assert row.what == f"/lock staging the fair is on on #{number}"


async def test_what_a_token_may_not_is_a_problem_with_its_code(here: Village) -> None:
    things = await Things.made(here.talk)
    place, read = f"/environments/{things.environment}", await here.token(scope="read")
    here.github.faults.add(Fault(path="/collaborators/walt", status=502, times=10**6))
    for method, path, token, expected in (
        ("POST", f"{place}/wake", read, (403, "forbidden")),
        ("GET", "/audit", read, (403, "forbidden")),
        ("GET", place, await here.token("otto"), (404, "not_found")),
        ("GET", place, await here.token("walt"), (503, "away")),
        ("GET", "/runs", {"authorization": "Bearer bt_none"}, (401, "unauthorized")),
    ):
        answer = await here.talk.api.request(method, path, headers=token)
        assert (answer.status_code, answer.json()["code"]) == expected, path
        assert answer.headers["content-type"] == "application/problem+json"


async def test_all_tokens_are_listed_and_ended_by_who_administers_the_instance(here: Village) -> None:
    root, walt = await here.token(ROOT), await here.token("walt", name="laptop")
    listed = (await here.talk.api.get("/tokens", headers=root)).json()
    [laptop] = [one for one in listed if one["name"] == "laptop"]
    assert (laptop["kind"], laptop["about"]) == ("person", "walt may admin")
    assert walt["authorization"].removeprefix("Bearer ") not in str(listed)
    gone = await here.talk.api.delete(f"/tokens/{laptop['id']}", headers=root)
    again = await here.talk.api.delete(f"/tokens/{laptop['id']}", headers=root)

    assert (gone.status_code, again.status_code) == (204, 404)
    assert (await status(here, "GET", "/runs", walt))[0] == 401
    assert [row.what for row in await here.audit()] == ["revoked the token laptop"]


async def test_what_comes_again_with_its_key_is_written_down_once_and_a_secret_without_its_value(
    here: Village,
) -> None:
    await Things.made(here.talk)
    grace = await here.token("grace")
    for _ in range(2):
        keyed = {**grace, "idempotency-key": "one"}
        body = {"environment": "staging", "why": "a fair"}
        locked = await here.talk.api.post("/repositories/acme/shop/locks", json=body, headers=keyed)
        assert (locked.status_code, locked.json()["owner"]) == (201, "grace")
    secret = {"name": "KEY", "value": "hidden"}
    put = await here.talk.api.put("/repositories/ACME/shop/secrets", json=secret, headers=grace)

    assert put.status_code == 204
    audited = await here.audit()
    assert [(row.who, row.what, row.why) for row in audited] == [
        ("grace", "locked staging", "a fair"),
        ("grace", "set the secret KEY", ""),
    ]
    assert {row.repository_id for row in audited} == {here.talk.repository.id}
