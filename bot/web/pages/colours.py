"""Pure: a line of a log as HTML, with its colours, as static/colours.js does it where scripts run.

Bright colours are the plain ones, and what stands on a ground has the colour that is read best there: so text
reaches its contrast in both themes.
"""

from __future__ import annotations

import re

from markupsafe import Markup, escape

_ESCAPE = re.compile(r"\x1b(?:\[([0-9;]{0,64})m)?")
_MARKS = {1: "b", 2: "d", 3: "i", 4: "u", 9: "s"}
_ENDS = {22: "bd", 23: "i", 24: "u", 29: "s"}
_PIECE = Markup('<span class="{}">{}</span>')


class _Look:
    """What the codes up to some place of a line come to."""

    def __init__(self) -> None:
        self._on = self._ground = ""
        self._marks: dict[str, None] = {}
        self._turned = False

    def after(self, code: int) -> _Look:
        if code == 0:
            return _Look()
        if code in _MARKS:
            self._marks[_MARKS[code]] = None
        elif code in _ENDS:
            for mark in _ENDS[code]:
                self._marks.pop(mark, None)
        elif code in (7, 27):
            self._turned = code == 7
        elif code in (39, *range(30, 38), *range(90, 98)):
            self._on = "" if code == 39 else str(code % 10)
        elif code in (49, *range(40, 48), *range(100, 108)):
            self._ground = "" if code == 49 else str(code % 10)
        return self

    @property
    def classes(self) -> str:
        ground = (self._on or "7") if self._turned else self._ground
        colour = f"g{ground}" if ground else f"c{self._on}" if self._on else ""
        return " ".join(f"t-{name}" for name in (colour, *self._marks) if name)


def shown(line: str) -> Markup:
    """Each line begins without a colour."""
    if "\x1b" not in line:
        return escape(line)
    text, look = Markup(), _Look()
    pieces = iter(_ESCAPE.split(line))  # text, codes, text, codes, … text
    for piece in pieces:
        if piece:
            text += _PIECE.format(look.classes, piece) if look.classes else escape(piece)
        codes = next(pieces, None)
        for code in [] if codes is None else codes.split(";"):
            look = look.after(int(code or 0))
    return text
