"""The receiver, given 100,000 bodies that nobody sane would send: never a 5xx, never more than it keeps.

The application is called as a server calls it, without a socket: what is tested is what a body does to us.
One in five is signed as it should be; what of those makes sense goes into a real store.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import func, select
from starlette.types import ASGIApp, Message

from bot.intake.processing import Processor
from bot.intake.receiver import Receiver
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import Delivery, DeliveryState
from bot.web.access import Access
from bot.web.api import Api
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.visitors import Visitors
from config.settings import Settings
from tests.bot.intake.test_receiver import FORM, JSON, SECRET, signature
from workers.contract.memory import MemoryQueue

BODIES = 100_000
ACCEPTED = 200  # of 1000: correctly signed ones, some of which are kept
_PROCESSED = 300
_GROWTH = 3000  # objects: of 100,000 bodies; a leak of one for each would be 33 times that
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": "1" * 40,
    "deleted": False,
    "repository": {"id": 7, "full_name": "acme/shop", "default_branch": "main"},
    "installation": {"id": 1},
}
ODD: list[Any] = [
    None, True, 0, -1, 2**70, 1e308, "", "\0", "\ud800", "x" * 5000, [], {}, [[]], {"id": {}}, "acme/../shop",
]  # fmt: skip
HEADERS = ["", "sha256=", "sha1=" + "0" * 40, "sha256=" + "0" * 64, "sha256=" + "é" * 64, "\xff", "=" * 5000]


def odd_json(chance: random.Random) -> bytes:
    """A payload in which something is not as it should be."""
    payload = json.loads(json.dumps(PUSH))
    for _ in range(chance.randrange(4)):
        part = chance.choice([payload, payload.get("repository"), payload.get("installation")])
        if isinstance(part, dict):
            name = chance.choice([*part, "action", "x", "\0"])
            part[name] = copy.deepcopy(chance.choice(ODD))
    text = json.dumps(payload)
    match chance.randrange(8):
        case 0:
            text = text[: chance.randrange(len(text))]
        case 1:
            text = "[" * 3000 + text
        case 2:
            text = text.replace("40", "NaN").replace('"deleted"', '"ref"')
        case 3:
            text = "\ufeff" + text
    body = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(chance.randrange(3) if body else 0):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return bytes(body)


def body_of(chance: random.Random) -> bytes:
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return b"payload=" + chance.choice([b"%", b"%00", b"{}", b"%ff%fe", b"a&payload=b", b""])
        case 2:
            return chance.choice([b"", b"null", b"{}", b"[]", b'"a"', b"1" * 5000, b"{" * 5000, b"\0" * 10])
        case _:
            return odd_json(chance)


def requests(chance: random.Random) -> Iterator[tuple[bytes, list[tuple[bytes, bytes]], bool]]:
    """Bodies with their headers, and whether the signature fits."""
    for number in range(BODIES):
        body = body_of(chance)
        fits = chance.randrange(1000) < ACCEPTED
        given = (
            signature(body)
            if fits
            else chance.choice([*HEADERS, signature(body)[:-1], signature(b"x" + body)])
        )
        kinds = [JSON, JSON, JSON, FORM, "", "text/plain", "application/json; charset=\xff"]
        headers = {
            "x-github-delivery": chance.choice([f"guid-{number}", f"guid-{number % 50}", "", "g" * 101]),
            "x-github-event": chance.choice(["push", "ping", "issue_comment", "", "\0", "e" * 101]),
            "content-type": chance.choice(kinds),
            "x-hub-signature-256": given,
        }
        yield body, [(key.encode(), text.encode("utf-8")) for key, text in headers.items() if text], fits


async def ask(web: ASGIApp, body: bytes, headers: list[tuple[bytes, bytes]], cut: int) -> tuple[int, bytes]:
    """The answer to one POST whose body comes in two parts."""
    parts = [body[:cut], body[cut:]]
    answer: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": parts.pop(0) if parts else b"", "more_body": bool(parts)}

    async def send(message: Message) -> None:
        answer.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/webhooks/github", "raw_path": b"/webhooks/github", "query_string": b"", "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    await web(scope, receive, send)
    return answer[0]["status"], answer[1]["body"]


@pytest.mark.timeout(900)  # so many bodies beside all the other tests
async def test_no_body_whatever_breaks_the_receiver_or_makes_it_grow(store: Store, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    api = [Api(store, FileLogs(tmp_path / "logs"))]
    visitors = Visitors(store, Settings(), lambda _environment: asyncio.sleep(0), b"key")
    receiver = Receiver(store, (SECRET,))
    web = application(
        receiver, api, store, MemoryQueue(), visitors, Access("token"), Metrics(store, MemoryQueue(), 60)
    )
    kept, objects = set(), 0
    for number, (body, headers, fits) in enumerate(requests(chance)):
        status, answer = await ask(web, body, headers, chance.randrange(len(body) + 1))
        what = f"seed {seed}, body {number}: {status} for {body[:200]!r} with {headers}"
        assert status in ((200, 202, 400) if fits else (401,)), what
        assert json.loads(answer)["message"], what
        if status == 202:
            kept.add(dict(headers)[b"x-github-delivery"])
        if number == BODIES // 10:
            gc.collect()
            objects = len(gc.get_objects())
    gc.collect()
    # What the test itself remembers is not the receiver's.
    assert len(gc.get_objects()) - objects < _GROWTH, f"seed {seed}"
    async with store.reading() as session:
        rows = (await session.exec(select(func.count()).select_from(Delivery))).one()
    assert rows == len(kept) > 100, f"seed {seed}"


async def test_whatever_was_kept_comes_to_an_end_with_a_reason(store: Store, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    async with store.transaction() as session:
        for number in range(_PROCESSED):
            try:
                payload = json.loads(odd_json(chance))
                text = json.dumps(payload)
                text.encode()
            except (ValueError, RecursionError):
                continue
            if isinstance(payload, dict) and "\\u0000" not in text:
                event = chance.choice(["push", "issue_comment", "installation", "create", "merge_group", "x"])
                session.add(Delivery(guid=f"guid-{number}", event=event, payload=text))
    processor = Processor(store, _Silent(), Settings(data_dir=tmp_path))  # type: ignore[arg-type]

    while due := await processor._due():
        await processor._lane(list(due))

    async with store.reading() as session:
        rows = (await session.exec(select(Delivery))).all()
    assert len(rows) > 50, f"seed {seed}"
    for row in rows:
        assert row.state in (DeliveryState.PROCESSED, DeliveryState.FAILED), f"seed {seed}: {row.payload}"
        assert row.reason, f"seed {seed}: {row.payload}"


class _Silent:
    """A GitHub that has nothing of what an odd payload names."""

    def __getattr__(self, name: str) -> Any:
        from bot.github.client import GitHubRefused

        async def refuse(*_: object, **__: object) -> None:
            raise GitHubRefused(410, f"{name}: gone")

        return refuse
