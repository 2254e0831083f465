"""Spans of time as people write them: 90s, 30m, 72h, 3d."""

from __future__ import annotations

import re

_SPAN = re.compile(r"^(\d{1,6})([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """The seconds of a span. Raises ValueError with what was expected."""
    if not (match := _SPAN.match(text)) or not int(match[1]):
        raise ValueError("must be a time such as 30m, 72h or 3d")
    return int(match[1]) * _SECONDS[match[2]]
