"""The body of a request, which is small."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request


async def bounded(request: Request, most: int, what: str) -> bytes:
    """All of it, `most` bytes; `what` it is, for people. Raises HTTPException."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > most:
            raise HTTPException(413, f"the {what} is larger than {most} bytes")
    return bytes(raw)
