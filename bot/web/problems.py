"""What a program is told that went wrong: https://www.rfc-editor.org/rfc/rfc9457."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

BELOW = "/api/"
MEDIA_TYPE = "application/problem+json"

# A status ▸ the code of whatever has none of its own. Programs decide by codes: none changes its meaning.
CODES = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "wrong_type",
    421: "wrong_name",
    422: "refused",
    429: "too_many",
    500: "ours",
    502: "github",
    503: "away",
}
# Those of their own: what they say ▸ the status that they come with.
OWN = {
    "fixed": 409,  # it is set where the bot runs, and changed there
    "held": 409,  # gates hold it: `held` names all
    "ended": 409,  # the job has ended
    "inactive": 409,  # nothing is done for this repository
    "in_progress": 409,  # the first request with this Idempotency-Key has not been answered yet
    "key_reused": 422,  # this Idempotency-Key came with another request
    "moved": 422,  # the commit is not at its ref any more
    "unknown_repository": 422,  # nothing was heard of it yet
}


class Problem(BaseModel):
    """What went wrong. `code` is for programs, `detail` for people; `message` says the same, as ever."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str
    status: int
    code: Annotated[str, Field(json_schema_extra={"enum": sorted({*CODES.values(), *OWN})})]
    detail: str
    message: str
    held: list[str] | None = Field(None, description="the gates that hold it, for people")


class Refusal(HTTPException):
    """A problem with a code of its own, one of OWN."""

    def __init__(self, code: str, detail: str, **more: Any) -> None:
        super().__init__(OWN[code], detail)
        self.code, self.more = code, more


def problem(
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    code: str = "",
    more: Mapping[str, Any] | None = None,
) -> Response:
    """The answer that says it."""
    return Response(json.dumps(told(status, detail, code, more)), status, headers, MEDIA_TYPE)


def told(status: int, detail: str, code: str = "", more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Pure: what it says."""
    title = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
    return {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code or CODES.get(status, "ours" if status >= 500 else "invalid"),
        "detail": detail,
        "message": detail,
        **(more or {}),
    }


def refused(error: HTTPException) -> Response:
    """An error that a handler raised, as a problem."""
    code, more = (error.code, error.more) if isinstance(error, Refusal) else ("", {})
    return problem(error.status_code, error.detail, error.headers, code, more)
