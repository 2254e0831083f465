"""Who may ask the API, and what they may ask for in numbers."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request

TOO_LARGE = 2**31  # for an id's column
_HERE = ("127.0.0.1", "::1")


def authorize(request: Request, token: SecretStr | None) -> None:
    """A bearer token where one is set; without one only this machine itself may ask. Raises HTTPException."""
    if token is None:
        local = request.client is not None and request.client.host in _HERE
        if not local or "x-forwarded-for" in request.headers or "forwarded" in request.headers:
            raise HTTPException(403, "set BLACKTREE_API_TOKEN to use the API from another machine")
        return
    given = request.headers.get("authorization", "").encode()
    if not hmac.compare_digest(given, f"Bearer {token.get_secret_value()}".encode()):
        raise HTTPException(401, "Authorization: Bearer with BLACKTREE_API_TOKEN is needed")


def no_web_page(request: Request, token: SecretStr | None) -> None:
    """Without a token a page in a browser here could ask as well as its user. Raises HTTPException."""
    if "origin" in request.headers and token is None:
        raise HTTPException(403, "a web page may change nothing without a token")


def number(request: Request, name: str, default: int) -> int:
    """A number of the query. Raises HTTPException."""
    value = request.query_params.get(name, "")
    if not value:
        return default
    if not value.isdecimal() or len(value) > 9:
        raise HTTPException(400, f"{name} must be a number")
    return int(value)
