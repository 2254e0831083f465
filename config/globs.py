"""Matching names and paths with `*`, `?` and `**`: all patterns at once, and no step is ever taken back.

Each bit of a number is a place in one of the patterns, and a character moves all of them on together
(https://en.wikipedia.org/wiki/Bitap_algorithm).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache

# A path's character costs a microsecond, and one more for so many characters of patterns.
_PATTERNS = 8192
_STARS, _OVER = re.compile(r"\*{3,}"), re.compile(r"(\*\*/)+")
_TOKEN = re.compile(r"\*\*|.", re.DOTALL)


class Globs:
    """Patterns: `*` and `?` stay within a part, `**` goes over parts, a folder means all that is in it."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._start = self._end = self._star = self._stars = self._over = self._any = place = 0
        self._literal: dict[str, int] = {}
        for pattern in patterns:
            self._start |= 1 << place
            tokens = _TOKEN.findall(_OVER.sub("**/", _STARS.sub("**", pattern.strip("/"))))
            for token, following in zip(tokens, [*tokens, ""][1:], strict=True):
                self._note(token, following, 1 << place)
                place += 1
            self._end |= 1 << place
            place += 1
        self._start = self._reach(self._start)
        self._patterns = place

    def _note(self, token: str, following: str, bit: int) -> None:
        if token == "**":  # noqa: S105
            self._stars |= bit
            self._over |= bit if following == "/" else 0
        elif token == "*":  # noqa: S105
            self._star |= bit
        elif token == "?":  # noqa: S105
            self._any |= bit
        else:
            self._literal[token] = self._literal.get(token, 0) | bit

    def cost(self, paths: Collection[str]) -> int:
        """About how many microseconds comparing takes, at worst."""
        return sum(map(len, paths)) * (1 + self._patterns // _PATTERNS)

    def fits(self, path: str) -> bool:
        """Whether one of the patterns fits the whole of `path`."""
        places = self._start
        for character in path:
            literal = places & self._literal.get(character, 0)
            if character == "/":
                if places & self._end:
                    return True
                stays = places & self._stars
            else:
                literal |= places & self._any
                stays = places & (self._stars | self._star)
            places = self._reach(literal << 1 | stays)
            if not places:
                return False
        return bool(places & self._end)

    def _reach(self, places: int) -> int:
        """`places`, and where they lead without a character: a star may stand for nothing, `**/` too."""
        places |= (places & self._over) << 2
        return places | (places & (self._stars | self._star)) << 1


@lru_cache(maxsize=256)
def globs(patterns: tuple[str, ...]) -> Globs:
    return Globs(patterns)


def glob(pattern: str, path: str) -> bool:
    """Whether `path` fits one pattern."""
    return globs((pattern,)).fits(path)
