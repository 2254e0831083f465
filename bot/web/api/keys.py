"""A request that is sent again with its Idempotency-Key is answered as it was, and not done twice.

https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/. Only what went well is kept: what
was refused may be asked for again with the same key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy import delete, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import col
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.store.database import Store
from bot.store.tables import Answered
from bot.web.api.operation import JSON
from bot.web.guard import unchanged
from bot.web.problems import Refusal
from workers.contract.messages import now

HEADER = "idempotency-key"
KEY = "^[!-~]([ -~]*[!-~])?$"
_MOST = 255  # characters of a key
_GIVEN_UP = timedelta(minutes=5)  # after which whoever began has died


class Keys:
    """Remembers answers for a day: bot/sweeps/retention.py forgets them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def once(self, request: Request, body: bytes, does: Callable[[], Awaitable[Response]]) -> Response:
        """What `does` answers, or did before for this key. Raises HTTPException."""
        if (key := request.headers.get(HEADER)) is None:
            return await does()
        if len(key) > _MOST or not re.fullmatch(KEY, key):
            raise HTTPException(400, f"Idempotency-Key: must be 1 to {_MOST} printable ASCII characters")
        path = request.url.path
        mark = _hash(request.headers.get("authorization", ""), request.method, path, key)
        if (known := await self._begun(mark, _hash(request.url.query, body.hex()))) is not None:
            unchanged(request)
            return Response(known.body, known.status, {"Idempotent-Replayed": "true"}, JSON)
        here = col(Answered.mark) == mark
        try:
            answer = await does()
        except BaseException:
            await self._forget(mark)
            raise
        if answer.status_code >= 300:
            await self._forget(mark)
            return answer
        async with self._store.transaction() as session:
            kept = {"status": answer.status_code, "body": bytes(answer.body).decode()}
            await session.exec(update(Answered).where(here).values(**kept))
        return answer

    async def _begun(self, mark: str, request: str) -> Answered | None:
        """What was answered before; None for whoever is the first. Raises Refusal."""
        try:
            async with self._store.transaction() as session:
                row = await session.get(Answered, mark)
                if row is None:
                    session.add(Answered(mark=mark, request=request))
                    return None
                if row.request != request:
                    raise Refusal(
                        "key_reused", "this Idempotency-Key came with another request: take a new one"
                    )
                if row.status:
                    return row
                if now() - row.created_at > _GIVEN_UP:
                    row.created_at = now()
                    return None
        except IntegrityError:
            pass
        raise Refusal(
            "in_progress", "the first request with this Idempotency-Key is under way: ask again soon"
        )

    async def _forget(self, mark: str) -> None:
        async with self._store.transaction() as session:
            await session.exec(delete(Answered).where(col(Answered.mark) == mark))


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
