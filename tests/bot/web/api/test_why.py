"""Why: what was meant, and what happened to it, told in its order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.store.tables import (
    Approval,
    CommandRow,
    CommandState,
    Delivery,
    DeliveryState,
    Environment,
    Image,
    Release,
    ReleaseState,
    Report,
    ReportKind,
    ReportState,
)
from bot.web.why.entries import Happened
from bot.web.why.question import Question, read
from tests.bot.conftest import REPOSITORY
from tests.bot.web.api.conftest import Asked
from workers.contract.messages import now

SHA = "4" * 40


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("4444444", Question(sha="4444444")),
        (f" {SHA.upper()} ", Question(sha=SHA)),
        ("17", Question(run=17)),
        ("17-2", Question(job="17-2")),
        ("#42", Question(pull=42)),
        ("acme/shop#42", Question(repository="acme/shop", pull=42)),
        (f"acme/shop@{SHA}", Question(repository="acme/shop", sha=SHA)),
        ("acme/shop@release/1.2", Question(repository="acme/shop", branch="release/1.2")),
        ("main", Question(branch="main")),
        ("feature/basket", Question(branch="feature/basket")),
        (f"https://github.com/acme/shop/commit/{SHA}", Question(repository="acme/shop", sha=SHA)),
        ("https://ghe.example.com/acme/shop/pull/42/files", Question(repository="acme/shop", pull=42)),
        ("https://github.com/acme/shop/tree/a%20b", Question(repository="acme/shop", branch="a b")),
        ("https://ci.example.com/runs/17", Question(run=17)),
        ("https://ci.example.com/ci/jobs/17-2/log", Question(job="17-2")),
        ("https://ci.example.com/deliveries/6f1c-1", Question(delivery="6f1c-1")),
        ("https://ci.example.com/environments/3", Question(environment=3)),
        ("https://github.com/runs/pull/42", None),
        ("https://github.com/acme", None),
        ("http://[", None),
        ("two words", None),
        ("", None),
    ],
)
def test_what_is_typed_or_pasted_is_understood(text: str, meant: Question | None) -> None:
    assert read(text) == meant


def test_where_one_stands_is_what_is_meant_if_nothing_else_is_said() -> None:
    assert read("main", "acme/shop") == Question(repository="acme/shop", branch="main")
    assert read("other/shop#1", "acme/shop") == Question(repository="other/shop", pull=1)
    assert read("17", "acme/shop") == Question(run=17), "a run says whose it is"


async def lived(asked: Asked) -> None:
    """Around the run that failed: a command, an approval, a gate, reuse, and what GitHub was told."""
    at = now() - timedelta(minutes=1)
    known: dict[str, Any] = {"repository_id": REPOSITORY}
    async with asked.store.transaction() as session:
        session.add(
            CommandRow(
                **known, pull_number=42, comment_id=5, line="/deploy staging", actor="ada", sha=SHA,
                state=CommandState.REFUSED, answer="staging is locked by grace", created_at=at,
            )
        )  # fmt: skip
        session.add(Approval(**known, pull_number=42, sha=SHA, actor="grace", created_at=at))
        status = {"sha": SHA, "context": "blacktree/deploy (staging)", "state": "error"}
        held = {**status, "description": "Held by staging is locked by grace"}
        waits = {**status, "description": "Waits"}
        for told, state in ((held, ReportState.SENT), (waits, ReportState.SUPERSEDED)):
            report: dict[str, Any] = {"kind": ReportKind.STATUS, "payload": told, "state": state}
            key = f"status:{SHA}:blacktree/deploy (staging)"
            session.add(Report(**known, **report, key=key, created_at=at, sent_at=at))
        built: dict[str, Any] = {"name": "web", "tree": "t", "digest": "sha256:1", "reference": "shop:2"}
        session.add(Image(**known, **built, size=1, job_id="4-1", sha=SHA, reused="2" * 40, created_at=at))
        ignored: dict[str, Any] = {"event": "push", "reason": "ignored: superseded", "received_at": at}
        naming: dict[str, Any] = {"payload": f'{{"after": "{SHA}"}}'}
        session.add(Delivery(guid="late", **known, **ignored, **naming, state=DeliveryState.PROCESSED))


async def test_a_commit_has_one_answer_in_its_order_each_with_a_time_and_a_link(asked: Asked) -> None:
    await lived(asked)
    told = await asked.json(f"/why?q={SHA[:9]}&repository=acme/shop")

    assert (told["repository"], told["sha"], told["runs"]) == ("acme/shop", SHA, [4])
    assert told["verdict"] == "build web failed: RUN npm test: exit code 1"
    entries = told["entries"]
    assert [one["at"] for one in entries] == sorted(one["at"] for one in entries)
    assert all(one["link"] for one in entries)
    found = {(one["kind"], one["what"], one["link"]) for one in entries}
    for kind, what, link in (
        ("delivery", "GitHub told: push", "/deliveries/6f1c0000-4"),
        ("decision", "run 4 for push to main by ada: builds web, deploys production", "/runs/4"),
        ("decision", "ignored: superseded", "/deliveries/late"),
        ("command", "ada said /deploy staging: staging is locked by grace",
         "https://github.com/acme/shop/pull/42#issuecomment-5"),
        ("approval", "grace approved of 4444444", "https://github.com/acme/shop/pull/42"),
        ("gate", "Held by staging is locked by grace", f"https://github.com/acme/shop/commit/{SHA}"),
        ("job", "build web failed: RUN npm test: exit code 1", "/jobs/4-1"),
        ("job", "deploy production cancelled: blacktree/build failed", "/jobs/4-2"),
        ("reuse", "web: nothing was built, the image of 2222222 has the same inputs", "/jobs/2-1"),
    ):  # fmt: skip
        assert (kind, what, link) in found, (kind, what)
    assert not [one for one in entries if "Waits" in one["what"]], "what was never sent is not told"


async def test_a_release_tells_when_visitors_came_and_when_they_left(asked: Asked) -> None:
    told = await asked.json("/why?q=1")
    traffic = [one["what"] for one in told["entries"] if one["kind"] == Happened.TRAFFIC]
    assert traffic == [
        "production's visitors reach release 1",
        "production's visitors left release 1 for release 2",
    ]
    assert told["verdict"] == "all that was to be done is done; nothing of it is live any more"
    assert (await asked.json(f"/why?q={'2' * 40}"))["verdict"] == "live in production and staging"


async def test_each_way_to_ask_leads_to_the_same(asked: Asked) -> None:
    for question in (
        "4",
        "4-1",
        "main",
        f"https://github.com/acme/shop/commit/{SHA}",
        f"{asked.url}/jobs/4-2",
    ):
        answer = await asked.http.get("/api/v1/why", params={"q": question})
        assert (answer.status_code, answer.json()["sha"]) == (200, SHA), question
    pull = (await asked.http.get("/api/v1/why", params={"q": "#42"})).json()
    assert (pull["pull_number"], pull["runs"]) == (42, [3])
    assert pull["verdict"].startswith("build web is being worked on")
    for question, status in (("99", 404), ("abcdef1", 404), ("no words", 422), ("other/shop#1", 404)):
        assert (await asked.http.get("/api/v1/why", params={"q": question})).status_code == status, question


async def test_a_delivery_that_led_to_nothing_says_why(asked: Asked) -> None:
    told = (await asked.http.get("/api/v1/why", params={"q": "https://x.test/deliveries/6f1c0000-3"})).json()
    assert [one["kind"] for one in told["entries"]] == ["delivery", "decision"]
    assert told["verdict"].startswith("GitHub: 502")


async def test_a_starting_release_is_no_traffic(asked: Asked) -> None:
    async with asked.store.transaction() as session:
        place = Environment(repository_id=REPOSITORY, name="new")
        session.add(place)
        await session.flush()
        release: dict[str, Any] = {"run_id": 3, "job_id": "3-3", "sha": "3" * 40, "image": "shop"}
        session.add(Release(environment_id=place.id or 0, **release, state=ReleaseState.STARTING))
    kinds = [one["kind"] for one in (await asked.json("/why?q=3"))["entries"]]
    assert ("release" in kinds, "traffic" in kinds) == (True, False)
