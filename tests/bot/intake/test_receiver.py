"""The door: a real server and a real store, asked by a real client."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import httpx2
import pytest
from sqlmodel import select

from bot.github.forge import GitHub
from bot.intake.receiver import MOST_BYTES, Receiver
from bot.intake.senders import Senders
from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import Delivery, DeliveryState, Job, JobState
from bot.web.access import Access
from bot.web.api import Api
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.orders import Orders
from bot.web.pages.site import Site
from bot.web.places import Places
from bot.web.sessions import Sessions
from bot.web.visitors import Visitors
from config.settings import Settings
from config.trust import trusted
from tests.bot.conftest import Rows
from tests.github.server import listen, serving
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Fault, now

SECRET = b"a secret of the webhook"
TOKEN = "a token of the API"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
PUSH: dict[str, Any] = {"ref": "refs/heads/main", "repository": {"id": 7, "full_name": "acme/shop"}}


def signature(body: bytes, secret: bytes = SECRET) -> str:
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


@dataclass
class Door:
    http: httpx2.AsyncClient
    store: Store

    async def deliver(
        self, body: bytes, guid: str = "guid-1", event: str = "push", content_type: str = JSON, **headers: str
    ) -> httpx2.Response:
        """A delivery that is signed as it should be, unless `headers` say otherwise; "" leaves one out."""
        known = {
            "x-github-delivery": guid,
            "x-github-event": event,
            "content-type": content_type,
            "x-hub-signature-256": signature(body),
        }
        sent = known | {name.replace("_", "-"): value for name, value in headers.items()}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items() if value]
        return await self.http.post("/webhooks/github", content=body, headers=raw)

    async def kept(self) -> list[Delivery]:
        async with self.store.reading() as session:
            return list((await session.exec(select(Delivery))).all())


@asynccontextmanager
async def door_to(
    store: Store,
    folder: Path,
    *secrets: bytes,
    access: Access | None = None,
    senders: Senders | None = None,
) -> AsyncIterator[Door]:
    """The web application as bot/main.py puts it together, on a port of its own, asked with its token."""
    api = (Api(store, FileLogs(folder / "logs")), Places(store, "https://github.com"))
    visitors = Visitors(store, Settings(), lambda _environment: asyncio.sleep(0), b"key")
    receiver = Receiver(store, secrets or (SECRET,), senders)
    queue = MemoryQueue()
    metrics = Metrics(store, queue, 60, fresh=0)
    sessions = Sessions(store, TOKEN)
    orders = Orders(store, cast(GitHub, None), Settings())
    site = Site.of(store, FileLogs(folder / "logs"), Settings(), sessions, orders)
    access = access or Access(TOKEN, sessions=sessions)
    web = application(receiver, api, store, queue, visitors, access, metrics, site)
    with contextlib.closing(listen("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            serving(web, listener),
            httpx2.AsyncClient(verify=trusted(), base_url=url, timeout=60) as http,
        ):
            http.headers["authorization"] = f"Bearer {TOKEN}"
            yield Door(http, store)


@pytest.fixture
async def door(store: Store, tmp_path: Path) -> AsyncIterator[Door]:
    async with door_to(store, tmp_path) as here:
        yield here


def told(response: httpx2.Response) -> str:
    """The message of an answer, which is JSON and shows nothing of our insides."""
    assert "Traceback" not in response.text
    assert ".py" not in response.text
    assert "sqlite" not in response.text.lower()
    return str(response.json()["message"])


FORMS = pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, json.dumps(PUSH).encode()),
        ("Application/JSON; charset=utf-8", json.dumps(PUSH, indent=1, ensure_ascii=False).encode()),
        (FORM, urlencode({"payload": json.dumps(PUSH)}).encode()),
    ],
    ids=["json", "json with a charset", "form"],
)


@FORMS
async def test_a_delivery_is_kept_as_it_came_before_it_is_accepted(
    door: Door, content_type: str, body: bytes
) -> None:
    answer = await door.deliver(body, content_type=content_type)
    [kept] = await door.kept()

    assert (answer.status_code, told(answer)) == (202, "accepted")
    assert answer.json()["delivery"] == "guid-1"
    assert json.loads(kept.payload) == PUSH
    assert (kept.guid, kept.event, kept.repository_id) == ("guid-1", "push", 7)
    assert kept.state is DeliveryState.RECEIVED


async def test_a_repeated_guid_is_known_and_kept_once(door: Door) -> None:
    body = json.dumps(PUSH).encode()

    answers = [await door.deliver(body) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert told(answers[1]) == "known"
    assert len(await door.kept()) == 1


async def test_of_many_at_the_same_moment_with_one_guid_one_is_kept(door: Door) -> None:
    body = json.dumps(PUSH).encode()

    answers = await asyncio.gather(*(door.deliver(body) for _ in range(20)))

    assert sorted(answer.status_code for answer in answers) == [200] * 19 + [202]
    assert len(await door.kept()) == 1


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (DeliveryState.FAILED, DeliveryState.RECEIVED),
        (DeliveryState.PROCESSED, DeliveryState.PROCESSED),
        (DeliveryState.RECEIVED, DeliveryState.RECEIVED),
    ],
)
async def test_only_a_delivery_that_failed_is_processed_again_when_it_is_redelivered(
    door: Door, state: DeliveryState, after: DeliveryState
) -> None:
    body = json.dumps(PUSH).encode()
    await door.deliver(body)
    async with door.store.transaction() as session:
        row = await session.get_one(Delivery, "guid-1")
        row.state, row.attempts = state, 20

    answer = await door.deliver(body)

    [kept] = await door.kept()
    assert (answer.status_code, kept.state) == (200, after)
    assert kept.attempts == (0 if state is DeliveryState.FAILED else 20)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        signature(b"{}"),
        signature(b'{"a": 1}', b"another secret"),
        signature(b'{"a": 1}').upper(),
        signature(b'{"a": 1}').removeprefix("sha256="),
        "sha1=" + hmac.new(SECRET, b'{"a": 1}', hashlib.sha1).hexdigest(),
        "sha256=\xff\xfe" + "0" * 60,
        "é" * 71,
        "x" * 5000,
    ],
    ids=[
        "none",
        "empty",
        "zeros",
        "other body",
        "other secret",
        "upper",
        "bare",
        "sha1",
        "bytes",
        "é",
        "long",
    ],
)
async def test_a_signature_that_does_not_fit_is_refused_and_nothing_is_kept(door: Door, given: str) -> None:
    answer = await door.deliver(b'{"a": 1}', x_hub_signature_256=given)

    assert answer.status_code == 401
    assert "X-Hub-Signature-256" in told(answer)
    assert SECRET.decode() not in answer.text
    assert await door.kept() == []


async def test_a_sha1_signature_counts_for_nothing_even_in_its_own_header(door: Door) -> None:
    sha1 = "sha1=" + hmac.new(SECRET, b"{}", hashlib.sha1).hexdigest()

    answer = await door.deliver(b"{}", x_hub_signature_256="", x_hub_signature=sha1)

    assert answer.status_code == 401


async def test_the_signature_is_of_the_raw_bytes(door: Door) -> None:
    body = b'{ "a":\n 1 }'

    assert (await door.deliver(body)).status_code == 202
    assert (await door.deliver(b'{"a": 1}', x_hub_signature_256=signature(body))).status_code == 401


async def test_any_of_several_secrets_will_do(store: Store, tmp_path: Path) -> None:
    async with door_to(store, tmp_path, b"new", b"old") as door:
        for secret, status in ((b"new", 202), (b"old", 200), (b"older", 401)):
            answer = await door.deliver(b"{}", x_hub_signature_256=signature(b"{}", secret))
            assert answer.status_code == status


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b"[]",
        b"null",
        b'"text"',
        b"42",
        b"{'a': 1}",
        b'{"a": 1} {"b": 2}',
        b"[" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"a": "\xff"}',
        '{"a": "é"}'.encode("utf-16"),
        b'{"a": "\x00"}',
        b"\x00",
    ],
    ids=lambda body: repr(body[:12]),
)
async def test_a_payload_that_cannot_be_read_is_malformed(door: Door, body: bytes) -> None:
    answer = await door.deliver(body)

    assert answer.status_code == 400
    assert told(answer)
    assert await door.kept() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"payload=%7B",
        b"payload=%5B%5D",
        b"other=%7B%7D",
        b"payload=%7B%22a%22%3A%22%00%22%7D",
        b"&" * 50,
        b"a=1&" * 50 + b"payload={}",
        b"\xff\xfe=1",
    ],
)
async def test_a_form_that_cannot_be_read_is_malformed(door: Door, body: bytes) -> None:
    assert (await door.deliver(body, content_type=FORM)).status_code == 400


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/form-data; boundary=x", "json", "é/é"])
async def test_another_content_type_is_malformed(door: Door, content_type: str) -> None:
    answer = await door.deliver(b"{}", content_type=content_type)

    assert answer.status_code == 400
    assert "Content-Type" in told(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"guid": ""},
        {"event": ""},
        {"guid": "g" * 101},
        {"event": "e" * 101},
    ],
)
async def test_without_the_headers_of_a_delivery_it_is_malformed(door: Door, headers: dict[str, str]) -> None:
    answer = await door.deliver(b"{}", **headers)

    assert answer.status_code == 400
    assert "X-GitHub-Delivery" in told(answer)


@pytest.mark.parametrize(
    "payload",
    [
        {"action": 5, "repository": "acme/shop"},
        {"action": None, "repository": None},
        {"repository": {"id": "7"}},
        {"repository": {"id": True}},
        {"repository": {"id": 2**63}},
        {"repository": {"id": -1}},
        {"repository": {"id": [1]}},
        {"action": "a" * 10_000},
        {"emoji": "🚀", "text": "é\u2028"},
    ],
)
async def test_an_odd_object_is_kept_and_accepted(door: Door, payload: dict[str, Any]) -> None:
    answer = await door.deliver(json.dumps(payload, ensure_ascii=False).encode())

    assert answer.status_code == 202
    [kept] = await door.kept()
    assert json.loads(kept.payload) == payload
    assert kept.repository_id is None


async def test_a_text_that_speaks_about_nul_is_accepted(door: Door) -> None:
    body = json.dumps({"comment": {"body": r"the escape \u0000 is not allowed"}}).encode()

    assert (await door.deliver(body)).status_code == 202


@pytest.mark.filterwarnings("ignore")
async def test_half_a_character_is_no_fault_of_ours(door: Door) -> None:
    answer = await door.deliver(b'{"action": "\\ud800"}')

    assert answer.status_code in (202, 400)


async def test_a_payload_over_25_megabytes_is_too_large(door: Door) -> None:
    body = b'{"a": "' + b"x" * MOST_BYTES + b'"}'

    answer = await door.deliver(body)

    assert answer.status_code == 413
    assert str(MOST_BYTES) in told(answer)
    assert await door.kept() == []


async def test_a_payload_of_just_25_megabytes_is_accepted(door: Door) -> None:
    body = b'{"a": "' + b"x" * (MOST_BYTES - 9) + b'"}'

    assert len(body) == MOST_BYTES
    assert (await door.deliver(body)).status_code == 202


async def test_an_event_that_nobody_knows_is_kept_and_accepted(door: Door) -> None:
    answer = await door.deliver(b"{}", event="moon_phase")

    assert answer.status_code == 202
    assert [kept.event for kept in await door.kept()] == ["moon_phase"]


async def test_a_ping_is_answered_pong_and_kept(door: Door) -> None:
    first, again = [await door.deliver(b'{"zen": "Design for failure."}', event="ping") for _ in range(2)]

    assert (first.status_code, told(first)) == (202, "pong")
    assert (again.status_code, told(again)) == (200, "pong")
    assert len(await door.kept()) == 1


async def test_the_door_is_for_post_only(door: Door) -> None:
    answer = await door.http.get("/webhooks/github")

    assert answer.status_code == 405
    assert told(answer)


async def test_a_bot_that_runs_is_alive_and_ready(door: Door, tmp_path: Path) -> None:
    assert (await door.http.get("/healthz")).json() == {"status": "alive"}
    ready = await door.http.get("/readyz")

    assert ready.status_code == 200
    assert ready.json() == {
        "status": "ready",
        "store": f"SQLite {tmp_path / 'blacktree.db'}",
        "queue": "memory (this process)",
    }


async def test_a_bot_whose_store_is_gone_is_alive_but_not_ready(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    async with (
        Store.opened(f"sqlite:///{folder / 'blacktree.db'}") as store,
        door_to(store, tmp_path) as door,
    ):
        await store._engine.dispose()
        shutil.rmtree(folder)

        ready = await door.http.get("/readyz")

        assert ready.status_code == 503
        assert (ready.json()["status"], ready.json()["queue"]) == ("down", "memory (this process)")
        assert ready.json()["store"].startswith("down: ")
        assert str(folder) not in ready.text
        assert (await door.http.get("/healthz")).status_code == 200


async def test_a_delivery_that_cannot_be_kept_is_not_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    async with (
        Store.opened(f"sqlite:///{folder / 'blacktree.db'}") as store,
        door_to(store, tmp_path) as door,
    ):
        await store._engine.dispose()
        shutil.rmtree(folder)

        answer = await door.deliver(b"{}")

    assert answer.status_code == 503
    assert told(answer) == "the store does not take it now, and nothing of it is kept: deliver it again"


@pytest.mark.parametrize(
    "path",
    [
        "/runs/1",
        "/runs/999999999",
        "/runs/-1",
        "/runs/one",
        "/runs/1.5",
        "/runs/%20",
        "/jobs/1-1",
        "/jobs/1-1/log",
        "/jobs/%2e%2e/log",
        "/jobs/..%2f..%2fetc%2fpasswd/log",
        "/jobs/%ff",
        "/jobs/%00",
        "/jobs/%0d%0aX: y",
        "/jobs/" + "9" * 5000,
        "/jobs/'; DROP TABLE jobs; --",
        "/jobs/🚀",
        "/deliveries/unknown",
        "/nothing",
    ],
)
async def test_what_is_not_there_is_404_in_json(door: Door, path: str) -> None:
    answer = await door.http.get(f"/api/v1{path}")

    assert answer.status_code == 404
    assert told(answer)


@pytest.mark.filterwarnings("ignore")
async def test_a_run_with_an_endless_number_is_not_there(door: Door) -> None:
    answer = await door.http.get(f"/api/v1/runs/{'9' * 40}")

    assert answer.status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/runs?limit=x",
        "/runs?limit=-1",
        "/runs?before=1.5",
        "/runs?before=9999999999",
        "/jobs/1-1/log?attempt=../../x",
        "/deliveries?limit=²",
    ],
)
async def test_a_query_that_is_no_number_is_malformed(door: Door, rows: Rows, path: str) -> None:
    await rows.job(await rows.run())

    answer = await door.http.get(f"/api/v1{path}")

    assert answer.status_code == 400
    assert "must be a number" in told(answer)


async def test_a_run_is_told_with_its_jobs_and_a_job_without_its_inside(
    door: Door, rows: Rows, tmp_path: Path
) -> None:
    run = await rows.run()
    job = await rows.job(
        run, state=JobState.RUNNING, attempt=2, nonce="hidden", instance="hidden", spec={"a": 1}
    )
    await FileLogs(tmp_path / "logs").append(job.id, 2, 0, "line\n")

    [listed] = (await door.http.get("/api/v1/runs")).json()
    whole = (await door.http.get(f"/api/v1/runs/{run.id}")).json()
    told_job = (await door.http.get(f"/api/v1/jobs/{job.id}")).json()

    assert (listed["repository"], listed["sha"]) == ("acme/shop", run.sha)
    assert listed["jobs"] == [{"id": job.id, "kind": "build", "name": "app", "state": "running"}]
    assert whole["jobs"] == [told_job]
    assert told_job["steps"] == []
    assert "hidden" not in json.dumps(told_job)
    assert (await door.http.get(told_job["log"])).text == "line\n"
    assert (await door.http.get(f"{told_job['log']}?attempt=1")).text == ""
    await FileLogs(tmp_path / "logs").append(job.id, 2, 5, "zwölf\nend\n")
    for query, log in (("from=5", "zwölf\nend\n"), ("from=99", ""), ("tail=1", "end\n"), ("tail=9", None)):
        answer = await door.http.get(f"{told_job['log']}?{query}")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text == ("line\nzwölf\nend\n" if log is None else log)
    page = await door.http.get(f"/jobs/{job.id}")
    assert page.headers["location"] == told_job["log"]


async def test_a_job_is_told_with_each_of_its_attempts_and_their_logs(
    door: Door, rows: Rows, store: Store, tmp_path: Path
) -> None:
    job = await rows.job(await rows.run(), state=JobState.RUNNING, attempt=1, worker="one", started_at=now())
    for attempt in (1, 2):
        await FileLogs(tmp_path / "logs").append(job.id, attempt, 0, f"log of {attempt}\n")
    gone = {
        "fault": Fault.OURS,
        "reason": "engine_gone",
        "sentence": "Docker went away",
        "failed_step": "build",
    }
    async with store.transaction() as session:
        row = await session.get_one(Job, job.id)
        await lifecycle.move(session, row, JobState.QUEUED, **gone)
        again = {"fault": None, "reason": "", "sentence": "", "failed_step": None}
        await lifecycle.move(
            session, row, JobState.RUNNING, attempt=2, worker="two", started_at=now(), **again
        )

    async def history() -> list[dict[str, Any]]:
        told_job = (await door.http.get(f"/api/v1/jobs/{job.id}")).json()
        return list(told_job["history"])

    first, second = await history()
    assert (first["attempt"], first["worker"], first["outcome"]) == (1, "one", "failed")
    assert {key: first[key] for key in gone} == {**gone, "fault": "ours"}
    assert first["started_at"] < first["ended_at"] < second["started_at"]
    assert (second["attempt"], second["worker"], second["outcome"], second["ended_at"]) == (
        2,
        "two",
        "",
        None,
    )
    logs = [(await door.http.get(one["log"])).text for one in (first, second)]
    assert logs == ["log of 1\n", "log of 2\n"]
    async with store.transaction() as session:
        await lifecycle.move(session, await session.get_one(Job, job.id), JobState.SUCCEEDED)
    assert [one["outcome"] for one in await history()] == ["failed", "succeeded"]


async def test_runs_come_newest_first_and_in_pages(door: Door, rows: Rows) -> None:
    for _ in range(5):
        await rows.run()

    first = (await door.http.get("/api/v1/runs?limit=2")).json()
    second = (await door.http.get(f"/api/v1/runs?limit=2&before={first[-1]['id']}")).json()

    assert [run["id"] for run in first + second] == [5, 4, 3, 2]


async def test_a_delivery_can_be_looked_at(door: Door) -> None:
    await door.deliver(json.dumps(PUSH).encode())

    [listed] = (await door.http.get("/api/v1/deliveries")).json()
    whole = (await door.http.get("/api/v1/deliveries/guid-1")).json()

    assert (listed["guid"], listed["state"]) == ("guid-1", "received")
    assert "payload" not in listed
    assert json.loads(whole["payload"]) == PUSH
