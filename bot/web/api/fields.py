"""What queries and bodies are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DIGITS = re.compile(r"[0-9]{1,9}")


def _number(given: Any) -> Any:
    """A number of a query: digits, and not a sign, a point or another script's."""
    if isinstance(given, str) and not _DIGITS.fullmatch(given):
        raise ValueError("must be a number of at most nine digits")
    return int(given) if isinstance(given, str) else given


def _whole(given: Any) -> Any:
    """JSON has one kind of numbers: 3.0 is 3."""
    return int(given) if isinstance(given, float) and given.is_integer() else given


Whole = Annotated[int, Field(ge=1, lt=2**31), BeforeValidator(_whole)]
Number = Annotated[int, Field(ge=0, le=999_999_999), BeforeValidator(_number)]
Limit = Annotated[Number, Field(description="of how many; 100 at most are given")]
Cursor = Annotated[
    str | None,
    Field(
        max_length=200,
        pattern=r"^[ -~]+$",
        description="from the `Link` of the answer before: what follows it",
    ),
]
Word = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
Words = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
FullName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}$", description="OWNER/NAME")
]
MOST = 100  # rows of a list


class Query(BaseModel):
    """What comes behind the question mark."""

    model_config = ConfigDict(extra="forbid")


class Body(BaseModel):
    """A JSON body, whose types count as they are written."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Signed(Body):
    """Who wants it, as that person says, and why: both are kept with the release."""

    actor: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")] = "api"
    why: Words = ""


class Listed(Query):
    """A part of a list."""

    limit: Limit = 30
    cursor: Cursor = None
