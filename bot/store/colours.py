"""Colours in logs as they are kept: workers leave SGR in, in the few forms of workers/output/colours.py.

A worker is no authority: whatever else begins with an escape goes, too. Logs of before have neither.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable

_ESCAPE = re.compile(rb"\x1b(?:\[[0-9;]{0,64}m)?")
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;]{0,64})?\Z")
_LONGEST = 67


def plain(text: bytes) -> bytes:
    """UTF-8 without colours."""
    return _ESCAPE.sub(b"", text) if b"\x1b" in text else text


def only(text: bytes) -> bytes:
    """UTF-8 of whose escapes colours alone are left."""
    return _coloured(text, b"")


def in_place(text: bytes) -> bytes:
    """The same, with a question mark for each escape of another kind: no byte changes its place."""
    return _coloured(text, b"?")


def _coloured(text: bytes, instead: bytes) -> bytes:
    return (
        _ESCAPE.sub(lambda found: found[0] if len(found[0]) > 1 else instead, text)
        if b"\x1b" in text
        else text
    )


async def plainly(parts: AsyncIterator[bytes], skip: int = 0) -> AsyncIterator[bytes]:
    """A log in parts, without colours, from byte `skip` of what is left on."""
    async for text in each(plain, parts):
        if skip < len(text):
            yield text[skip:]
        skip = max(0, skip - len(text))


async def each(clean: Callable[[bytes], bytes], parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A log in parts, cleaned; an escape that a part ends in waits for the next, and the last one goes."""
    kept = b""
    async for part in parts:
        kept += part
        cut = _UNFINISHED.search(kept, max(0, len(kept) - _LONGEST)) if b"\x1b" in kept else None
        text, kept = (clean(kept[: cut.start()]), cut[0]) if cut else (clean(kept), b"")
        yield text
