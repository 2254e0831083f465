"""The receiver: verify the bytes, keep the delivery, answer. Nothing slow happens before the answer.

Until its signature has been compared a body gets little: see `bot.intake.body`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from urllib.parse import parse_qs

import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from bot.intake import payload
from bot.intake.body import Bodies, Crowded, TooLarge
from bot.intake.senders import Senders
from bot.store.arrivals import Arrival, NotKept
from bot.store.database import Store
from workers.contract.messages import now

# https://docs.github.com/webhooks/webhook-events-and-payloads: payloads are capped at 25 MB.
MOST_BYTES = 25 * 1024 * 1024
_SIGNATURE = re.compile("sha256=([0-9a-f]{64})")
_UNSIGNED = "X-Hub-Signature-256 does not fit the body and this instance's secret"
_ELSEWHERE = "this instance takes deliveries from GitHub's own addresses only (GITHUB_ADDRESSES)"
_TOO_LARGE = f"a payload has at most {MOST_BYTES} bytes"
_NOT_KEPT = "the store does not take it now, and nothing of it is kept: deliver it again"
_OUTCOMES = {
    200: "known",
    202: "accepted",
    400: "unreadable",
    401: "refused",
    403: "refused",
    413: "too_large",
}
_LARGE = 1024 * 1024  # bytes from which on a payload is read beside the loop, one at a time

PATH = "/webhooks/github"
_READ = {
    b"content-length",
    b"content-type",
    b"x-github-delivery",
    b"x-github-event",
    b"x-hub-signature-256",
}  # of the headers
_Headers = dict[bytes, str]
_json = msgspec.json.Encoder()

log = structlog.get_logger()


class Malformed(Exception):
    """A request that is signed but can't be understood; the text says why."""


class Receiver:
    """Takes deliveries signed with one of `secrets`, from `senders` alone if they are told.

    An ASGI application for POSTs; each costs so little that what a framework does for it would cost more.
    """

    def __init__(self, store: Store, secrets: tuple[bytes, ...], senders: Senders | None = None) -> None:
        self._store = store
        self._secrets = secrets
        self._senders = senders
        self._bodies = Bodies(MOST_BYTES)
        self._large = asyncio.Lock()

    def before(self, app: ASGIApp) -> ASGIApp:
        """`app`, but for deliveries."""

        async def either(scope: Scope, receive: Receive, send: Send) -> None:
            ours = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
            await (self if ours else app)(scope, receive, send)

        return either

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun, status = time.perf_counter(), 500
        try:
            status, message, guid = await self._received(scope, receive)
        finally:
            self._count(scope, status, time.perf_counter() - begun)
        body = _json.encode({"message": message} | ({"delivery": guid} if guid else {}))
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        """Of events that are not signed nobody hears: whoever sends them could make up any number."""
        event = dict(scope["headers"]).get(b"x-github-event", b"").decode("latin-1") if status < 300 else ""
        outcome = _OUTCOMES.get(status, "failed")
        self._store.instruments.received(event or "none", outcome, seconds)

    async def _received(self, scope: Scope, receive: Receive) -> tuple[int, str, str]:
        """202 for a delivery that is kept, 200 for one that was already, 400, 401, 403, 413 or 503.

        And what is to be said of it, and its GUID where it has one.
        """
        headers = {
            name: value.decode("latin-1") for name, value in reversed(scope["headers"]) if name in _READ
        }
        if self._senders and not (scope["client"] and self._senders.has(scope["client"][0])):
            return 403, _ELSEWHERE, ""
        signature = _SIGNATURE.fullmatch(headers.get(b"x-hub-signature-256", ""))
        if signature is None:
            return 401, _UNSIGNED, ""
        if _length(headers) > MOST_BYTES:
            return 413, _TOO_LARGE, ""
        with self._bodies.coming(self._secrets) as body:
            try:
                await self._bodies.take(body, _parts(receive))
            except TooLarge:
                return 413, _TOO_LARGE, ""
            except Crowded:
                return 503, "there is no room for a payload of this size now: deliver it again", ""
            except ClientDisconnect:
                return 400, "the payload is not whole", ""
            if not body.signed(signature[1]):
                return 401, _UNSIGNED, ""
            async with self._large if len(body.data) > _LARGE else nullcontext():
                return await self._signed(headers, body.data)

    async def _signed(self, headers: _Headers, body: bytearray) -> tuple[int, str, str]:
        try:
            if len(body) > _LARGE:
                arrival = await asyncio.to_thread(_arrival, headers, body)
            else:
                arrival = _arrival(headers, body)
            known = await self._store.keep(arrival)
        except Malformed as error:
            return 400, str(error), ""
        except NotKept as error:
            log.error(
                "delivery not kept", delivery=arrival.guid, github_event=arrival.event, error=str(error)
            )
            return 503, _NOT_KEPT, ""
        said = "pong" if arrival.event == "ping" else "known" if known else "accepted"
        return 200 if known else 202, said, arrival.guid


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """A request's body as it comes. Raises ClientDisconnect."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _length(headers: _Headers) -> int:
    """The bytes that are announced, 0 where none are."""
    told = headers.get(b"content-length", "")
    return int(told) if told.isdecimal() and len(told) < 20 else 0


def _arrival(headers: _Headers, body: bytearray) -> Arrival:
    guid = headers.get(b"x-github-delivery", "").strip()
    event = headers.get(b"x-github-event", "").strip()
    if not guid or not event or len(guid) > 100 or len(event) > 100:
        raise Malformed("the headers X-GitHub-Delivery and X-GitHub-Event must be there")
    text = _text(headers.get(b"content-type", ""), body)
    outline = _outline(text)
    action, repository = outline.action, outline.repository
    repository_id = repository.get("id") if isinstance(repository, dict) else None
    return Arrival(
        guid=guid,
        event=event,
        action=action[:100] if isinstance(action, str) and action.isprintable() else None,
        repository_id=repository_id if type(repository_id) is int and 0 < repository_id < 2**63 else None,
        payload=text,
        at=now(),
    )


def _text(content_type: str, body: bytearray) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            return body.decode()
        if kind == "application/x-www-form-urlencoded":
            return parse_qs(body.decode(), strict_parsing=True, max_num_fields=10)["payload"][0]
    except (ValueError, KeyError):
        raise Malformed("the body is not UTF-8 JSON, or a form with one field payload") from None
    raise Malformed("Content-Type must be application/json or application/x-www-form-urlencoded")


def _outline(text: str) -> payload.Outline:
    try:
        return payload.outline(text)
    except (ValueError, RecursionError):
        raise Malformed("the payload is no JSON object") from None
