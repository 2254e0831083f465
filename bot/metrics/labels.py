"""Labels that stay few, whatever the world says: each value of one is a series that Prometheus keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable

OTHER = "other"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


class Few:
    """The first `most` words that are seen, and those that are `known` before; any other is `other`."""

    def __init__(self, most: int, known: Iterable[str] = ()) -> None:
        self._most = most
        self._known = set(known)

    def __call__(self, value: str) -> str:
        if value in self._known or not value:
            return value
        if len(self._known) >= self._most or not _WORD.fullmatch(value):
            return OTHER
        self._known.add(value)
        return value
