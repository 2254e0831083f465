"""What a form of ours says: small, sent by a page of ours, and by who is signed in."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.web.bodies import bounded
from bot.web.pages.render import person

_MOST = 16 * 1024  # bytes
LONG = 256 * 1024  # of one with a long text, each byte of which may be sent as three
_MOST_FIELDS = 20


async def read(request: Request, most: int = _MOST) -> dict[str, str]:
    """The fields of a form, once it is certain that a page of ours sent it. Raises HTTPException."""
    origin = request.headers.get("origin")
    if origin is None or origin.partition("://")[2] != request.headers.get("host"):
        raise HTTPException(403, "this form was not sent by a page of this bot")
    fields = await _fields(request, most)
    who = person(request)
    if who is not None and not hmac.compare_digest(fields.get("csrf", "").encode(), who.csrf.encode()):
        raise HTTPException(403, "this page is older than your session: load it again, then repeat")
    return fields


async def _fields(request: Request, most: int) -> dict[str, str]:
    raw = await bounded(request, most, "form")
    try:
        given = parse_qs(raw.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        if any("\0" in value for values in given.values() for value in values):
            raise ValueError  # nor could PostgreSQL keep it
    except ValueError:
        raise HTTPException(400, "this is no form") from None
    return {name: values[-1] for name, values in given.items()}


def local(wanted: str) -> str:
    """The path to go on to, on this host and no other."""
    plain = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted.isprintable()
    return wanted if plain and "\\" not in wanted else "/"
