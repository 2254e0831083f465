"""Matching names and paths with `*`, `?` and `**`, in time that grows with their lengths only."""

from __future__ import annotations

import re


def glob(pattern: str, path: str) -> bool:
    """Whether `path` fits: `*` and `?` stay within a part, `**` goes over parts, a folder means all in it."""
    tokens = re.findall(r"\*\*|\*|\?|.", pattern.strip("/"), re.DOTALL)
    places = _reach({0}, tokens)
    for character in path:
        if len(tokens) in places and character == "/":
            return True
        places = _reach({after for place in places for after in _step(tokens, place, character)}, tokens)
    return len(tokens) in places


def _step(tokens: list[str], place: int, character: str) -> list[int]:
    """Where in the pattern one character leads."""
    here = tokens[place] if place < len(tokens) else ""
    if here == "**" or (here == "*" and character != "/"):
        return [place]
    fits = here == character or (here == "?" and character != "/")
    return [place + 1] if fits and here != "*" else []


def _reach(places: set[int], tokens: list[str]) -> set[int]:
    """`places`, and where they lead without a character: a star may stand for nothing, `**/` too."""
    reached, todo = set(places), list(places)
    while todo:
        place = todo.pop()
        here = tokens[place] if place < len(tokens) else ""
        nothing = [place + 1] if here in ("*", "**") else []
        if here == "**" and tokens[place + 1 : place + 2] == ["/"]:
            nothing.append(place + 2)
        todo += [one for one in nothing if one not in reached]
        reached.update(nothing)
    return reached
