"""Pure: five fields of cron, as Debian's cron reads them, in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

_FIELDS = ("minute", "hour", "day of month", "month", "day of week")
# What cronsim knows beyond that (seconds, L, #) is no cron that people can look up.
_TERM = r"(\*|[0-9]+|[a-z]{3})(-([0-9]+|[a-z]{3}))?(/[0-9]+)?"
_FIELD = re.compile(rf"{_TERM}(,{_TERM})*", re.IGNORECASE)
_SOME_DAY = datetime(2000, 1, 1, tzinfo=UTC)


def checked(text: str) -> str:
    """The expression, if it is one and has a next time always. Raises ValueError with what is wrong."""
    if wrong := _wrong(text):
        raise ValueError(wrong)
    return text


@lru_cache(maxsize=1024)
def _wrong(text: str) -> str | None:
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return f"must be five fields of cron: {', '.join(_FIELDS)}; this has {len(fields)}"
    for field, name in zip(fields, _FIELDS, strict=True):
        if not _FIELD.fullmatch(field):
            return _odd(field, name)
    if not (bad := _bad(text)):
        return None
    field = fields[_FIELDS.index(bad)]
    if bad == "day of month" and not _bad(f"* * {field} * *"):
        return "would never come: none of its months has such a day"
    return _odd(field, bad)


def _odd(field: str, name: str) -> str:
    return f"must be five fields of cron: {field[:40]} is no {name}"


def _bad(text: str) -> str:
    """The name of the field that is at fault, empty if none is."""
    try:
        CronSim(text, _SOME_DAY)
    except CronSimError as error:
        return str(error).removeprefix("Bad ").replace("-", " ")
    return ""
