"""The receiver: verify the bytes, keep the delivery, answer. Nothing slow happens before the answer."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import structlog
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState
from workers.contract.messages import now

# https://docs.github.com/webhooks/webhook-events-and-payloads: payloads are capped at 25 MB.
MOST_BYTES = 25 * 1024 * 1024
_SIGNATURE = "sha256="

log = structlog.get_logger()


class Malformed(Exception):
    """A request that is signed but can't be understood; the text says why."""


@dataclass(frozen=True)
class Receiver:
    """Takes deliveries signed with one of `secrets`."""

    store: Store
    secrets: tuple[bytes, ...] = field(repr=False)

    async def receive(self, request: Request) -> Response:
        """Answer 202 for a delivery that is kept, 200 for one that was already, 400, 401 or 413."""
        body = await _body(request)
        if body is None:
            return _answer(413, f"a payload has at most {MOST_BYTES} bytes")
        if not signed(body, request.headers.get("x-hub-signature-256", ""), self.secrets):
            return _answer(401, "X-Hub-Signature-256 does not fit the body and this instance's secret")
        try:
            delivery = _delivery(request, body)
        except Malformed as error:
            return _answer(400, str(error))
        known = await self._keep(delivery)
        log.info(
            "delivery known" if known else "delivery received",
            delivery=delivery.guid,
            github_event=delivery.event,
        )
        if delivery.event == "ping":
            return _answer(200 if known else 202, "pong", delivery)
        return _answer(200, "known", delivery) if known else _answer(202, "accepted", delivery)

    async def _keep(self, delivery: Delivery) -> bool:
        """Commit the delivery. True if it was here before; one that failed then is tried again."""
        try:
            async with self.store.transaction() as session:
                session.add(delivery)
        except IntegrityError:
            async with self.store.transaction() as session:
                again = update(Delivery).where(
                    col(Delivery.guid) == delivery.guid, col(Delivery.state) == DeliveryState.FAILED
                )
                await session.exec(again.values(state=DeliveryState.RECEIVED, attempts=0, due_at=now()))
            return True
        return False


def signed(body: bytes, signature: str, secrets: tuple[bytes, ...]) -> bool:
    """Whether `signature` is the HMAC-SHA256 of exactly these bytes under one of `secrets`."""
    given = signature.encode("utf-8", "replace")
    expected = [_SIGNATURE + hmac.new(secret, body, hashlib.sha256).hexdigest() for secret in secrets]
    return any([hmac.compare_digest(one.encode(), given) for one in expected])  # noqa: C419 (each is compared)


async def _body(request: Request) -> bytes | None:
    """The raw bytes, None if there are too many."""
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES:
                return None
            chunks.append(chunk)
    except ClientDisconnect:
        return b""
    return b"".join(chunks)


def _delivery(request: Request, body: bytes) -> Delivery:
    guid = request.headers.get("x-github-delivery", "").strip()
    event = request.headers.get("x-github-event", "").strip()
    if not guid or not event or len(guid) > 100 or len(event) > 100:
        raise Malformed("the headers X-GitHub-Delivery and X-GitHub-Event must be there")
    text = _text(request.headers.get("content-type", ""), body)
    payload = _object(text)
    action, repository = payload.get("action"), payload.get("repository")
    repository_id = repository.get("id") if isinstance(repository, dict) else None
    return Delivery(
        guid=guid,
        event=event,
        action=action[:100] if isinstance(action, str) and action.isprintable() else None,
        repository_id=repository_id if type(repository_id) is int and 0 < repository_id < 2**63 else None,
        payload=text,
    )


def _text(content_type: str, body: bytes) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return body.decode()
        if kind == "application/x-www-form-urlencoded":
            return parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)["payload"][0]
    except (ValueError, KeyError):
        raise Malformed("the body is not UTF-8 JSON, or a form with one field payload") from None
    raise Malformed("Content-Type must be application/json or application/x-www-form-urlencoded")


def _object(text: str) -> dict[str, Any]:
    try:
        payload = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("the payload is not JSON") from None
    if not isinstance(payload, dict):
        raise Malformed("the payload is not a JSON object")
    return payload


def _answer(status: int, message: str, delivery: Delivery | None = None) -> Response:
    body = {"message": message} | ({"delivery": delivery.guid} if delivery else {})
    return JSONResponse(body, status_code=status)
