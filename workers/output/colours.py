"""A terminal's colours (SGR), as logs keep them: those that every reader can show, each line for itself.

https://www.ecma-international.org/publications-and-standards/standards/ecma-48/ (8.3.117); the palette of 256
and direct colours are ITU-T T.416's, as xterm writes them (`38;5;N`, `38;2;R;G;B`, or with colons).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

SEQUENCE = re.compile(rb"\x1b\[([0-9;]{0,64})m")
_WANTED = re.compile(rb"\x1b\[([0-9;:]{0,256})m")
_MOST = 16  # codes that one sequence may have, or some that follow each other

# Bold, faint, italic, underlined, inverse, crossed out, and the ends of these; sixteen colours and grounds.
_KEPT = frozenset(
    {0, 1, 2, 3, 4, 7, 9, 22, 23, 24, 27, 29, *range(30, 38), 39, *range(40, 48), 49, *range(90, 98)}
    | {*range(100, 108)}
)
_STEPS = (0, 95, 135, 175, 215, 255)  # of xterm's cube of 6 by 6 by 6


@lru_cache(1024)  # a program has few
def kept(sequence: bytes) -> bytes:
    """A control sequence as logs keep it: empty where it sets no colour."""
    found = _WANTED.fullmatch(sequence)
    codes = list(_codes(found[1]))[:_MOST] if found else []
    return _written(codes)


def joined(one: bytes, other: bytes) -> bytes:
    """Two sequences that `kept` gave, as one: what a reset undoes is left out."""
    codes = [int(code or 0) for found in (one, other) for code in found[2:-1].split(b";")]
    if 0 in codes:
        codes = codes[len(codes) - 1 - codes[::-1].index(0) :]
    return _written(codes[-_MOST:])


def _written(codes: list[int]) -> bytes:
    return b"\x1b[%sm" % b";".join(b"%d" % code for code in codes) if codes else b""


def _codes(parameters: bytes) -> Iterator[int]:
    """Those that are kept; a colour of many as the nearest of sixteen."""
    groups = iter(parameters.split(b";"))
    for group in groups:
        first, *rest = (int(one[-4:] or 0) for one in group.split(b":"))
        if first not in (38, 48):
            if first in _KEPT and not (rest and rest[0] == 0):  # 4:0 is no underline
                yield first
            continue
        if not rest:  # semicolons: what follows belongs to it
            kind = _number(groups)
            rest = [kind, *(_number(groups) for _ in range({5: 1, 2: 3}.get(kind, 0)))]
        if (near := _nearest(rest)) is not None:
            yield near + (10 if first == 48 else 0)


def _number(groups: Iterator[bytes]) -> int:
    text = next(groups, b"")
    return int(text[-4:]) if text.isdigit() else 0


def _nearest(colour: list[int]) -> int | None:
    """The foreground's code of the nearest of sixteen."""
    if colour[:1] == [5] and len(colour) > 1:
        return _of_palette(min(colour[1], 255))
    if colour[:1] == [2] and len(colour) >= 4:
        red, green, blue = (min(one, 255) for one in colour[-3:])
        return _of_light(red, green, blue)
    return None


def _of_palette(number: int) -> int:
    if number < 8:
        return 30 + number
    if number < 16:
        return 90 + number - 8
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return _of_light(grey, grey, grey)
    cube = number - 16
    return _of_light(_STEPS[cube // 36], _STEPS[cube // 6 % 6], _STEPS[cube % 6])


def _of_light(red: int, green: int, blue: int) -> int:
    """By hue: the channels that come near the strongest; bright where that is very strong."""
    most, least = max(red, green, blue), min(red, green, blue)
    if most - least < 40:  # a grey
        return 30 if most < 64 else 90 if most < 160 else 37 if most < 224 else 97
    middle = (most + least) / 2
    hue = (red > middle) + 2 * (green > middle) + 4 * (blue > middle)
    return (90 if most > 215 else 30) + hue
