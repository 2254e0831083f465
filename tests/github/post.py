"""The post office: events become signed POSTs to hooks, in order for each hook, and are never sent again
by themselves."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from itertools import count
from urllib.parse import urlencode

import httpx2

from tests.github.feed import DeliverySent, Feed
from tests.github.model import Delivery, Hook, Json

AGENT = "GitHub-Hookshot/f0f1e2d"
KEPT_BYTES = 64 * 1024


def body_of(hook: Hook, payload: Json) -> bytes:
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    return text.encode() if hook.content_type == "json" else urlencode({"payload": text}).encode()


def headers_of(delivery: Delivery, body: bytes, target: tuple[str, int]) -> dict[str, str]:
    """`target` is what the hook belongs to: its type and id."""
    hook = delivery.hook
    headers = {
        "Accept": "*/*",
        "Content-Type": (
            "application/json" if hook.content_type == "json" else "application/x-www-form-urlencoded"
        ),
        "User-Agent": AGENT,
        "X-GitHub-Delivery": delivery.guid,
        "X-GitHub-Event": delivery.event,
        "X-GitHub-Hook-ID": str(hook.id),
        "X-GitHub-Hook-Installation-Target-ID": str(target[1]),
        "X-GitHub-Hook-Installation-Target-Type": target[0],
    }
    if hook.secret:
        for name, algorithm in (("X-Hub-Signature", "sha1"), ("X-Hub-Signature-256", "sha256")):
            digest = hmac.new(hook.secret.encode(), body, algorithm).hexdigest()
            headers[name] = f"{algorithm}={digest}"
    return headers


def guid() -> str:
    return str(uuid.uuid1())


class PostOffice:
    """`timeout` in seconds is what a receiver has for its answer, connecting included.

    GitHub gives ten. Here a machine that is busy with other tests would lose deliveries by that.
    """

    timeout = 30.0

    def __init__(self, feed: Feed, ids: "count[int]", now: Callable[[], datetime], app_id: int) -> None:
        self.deliveries: list[Delivery] = []
        self.check: Callable[[str, Json], None] | None = None
        self._feed = feed
        self._ids = ids
        self._now = now
        self.app_id = app_id
        self._queues: dict[int, asyncio.Queue[Delivery]] = {}
        self._waiting = 0
        self._workers: list[asyncio.Task[None]] = []
        self._client: httpx2.AsyncClient | None = None

    @contextlib.asynccontextmanager
    async def open(self, client: httpx2.AsyncClient) -> AsyncIterator[None]:
        """Send by `client` inside the block; what has not been tried at its end never is."""
        self._client = client
        try:
            yield
        finally:
            self._client = None
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def send(
        self,
        hook: Hook,
        event: str,
        payload: Json,
        *,
        redelivery_of: Delivery | None = None,
        repository_id: int | None = None,
        checked: bool = True,
    ) -> Delivery:
        """Queue one try; the payload is what it is now. Unless `checked`, the contract is not asked."""
        delivery = Delivery(
            id=next(self._ids),
            guid=redelivery_of.guid if redelivery_of else guid(),
            hook=hook,
            event=event,
            action=payload.get("action"),
            payload=json.loads(json.dumps(payload)),
            redelivery=redelivery_of is not None,
            installation_id=(payload.get("installation") or {}).get("id"),
            repository_id=repository_id or (payload.get("repository") or {}).get("id"),
        )
        if self.check and checked:
            self.check(event, delivery.payload)
        if self._client is None:
            raise RuntimeError("the stand-in is not running")
        if hook.id not in self._queues:
            self._queues[hook.id] = asyncio.Queue()
            self._workers.append(asyncio.create_task(self._work(self._queues[hook.id])))
        self._waiting += 1
        self._queues[hook.id].put_nowait(delivery)
        return delivery

    def again(self, delivery: Delivery) -> Delivery:
        return self.send(
            delivery.hook,
            delivery.event,
            delivery.payload,
            redelivery_of=delivery,
            repository_id=delivery.repository_id,
            checked=False,
        )

    def find(self, guid: str) -> Delivery:
        """The newest try with this GUID."""
        return next(one for one in reversed(self.deliveries) if one.guid == guid)

    async def settled(self, timeout: float) -> None:
        """Return when everything that was queued has been tried."""
        await self._feed.until(lambda: self._waiting == 0, timeout)

    async def _work(self, queue: "asyncio.Queue[Delivery]") -> None:
        while True:
            delivery = await queue.get()
            try:
                await self._try(delivery)
            finally:
                self._waiting -= 1
            self.deliveries.append(delivery)
            self._feed.publish(DeliverySent(delivery))

    async def _try(self, delivery: Delivery) -> None:
        hook = delivery.hook
        body = body_of(hook, delivery.payload)
        target = ("repository", hook.repository.id) if hook.repository else ("integration", self.app_id)
        delivery.request_headers = headers_of(delivery, body, target)
        delivery.delivered_at = self._now()
        delivery.sent_at = time.time()
        started = time.monotonic()
        try:
            if self._client is None or hook.url is None:
                raise httpx2.ConnectError("the hook has no URL")
            async with asyncio.timeout(self.timeout):
                answer = await self._client.post(hook.url, content=body, headers=delivery.request_headers)
        except TimeoutError:
            delivery.status = "timed out"
        except (httpx2.HTTPError, httpx2.InvalidURL):
            delivery.status = "failed to connect to host"
        else:
            delivery.status_code = answer.status_code
            delivery.status = "OK" if delivery.ok else f"Invalid HTTP Response: {answer.status_code}"
            delivery.response_headers = dict(answer.headers)
            delivery.response_body = answer.text[:KEPT_BYTES]
        delivery.duration = round(time.monotonic() - started, 3)


def verify(secret: str, body: bytes, signature: str) -> bool:
    """Whether `signature` (X-Hub-Signature-256) is the one of `body`."""
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, signature)
