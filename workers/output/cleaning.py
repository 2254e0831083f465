"""What a program says to a terminal ▸ text: colours at most, no rewritten lines, no odd bytes."""

from __future__ import annotations

import re
from collections.abc import Callable

from workers.output import colours

LONGEST = 64 * 1024  # bytes of a line that is waited for; a longer one comes in pieces

# All below U+0020 but tab, newline and carriage return; and DEL. Two of them have a say in sequences.
_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n\r"})
_BUT_ESCAPE = bytes({*_CONTROLS} - {0x1B})
_INSIDE = bytes({*_CONTROLS} - {*b"\x07\x1b"})
# ECMA-48: control sequences, strings up to their terminator, short sequences, and C1 as UTF-8.
_ESCAPE = re.compile(
    rb"(?:\x1b\[|\xc2\x9b)[0-?]{0,256}[ -/]{0,16}[@-~]?"
    rb"|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?"
    rb"|\x1b[ -/]{0,16}[0-~]?"
    rb"|\xc2[\x80-\x9f]"
)
_UNFINISHED = re.compile(
    rb"(?:(?:\x1b\[|\xc2\x9b)[0-?]{0,256}[ -/]{0,16}"
    rb"|\x1b[\]PX^_][^\x07\x1b\n]{0,4096}\x1b?"
    rb"|\x1b[ -/]{0,16})\Z"
)
_LONGEST_ESCAPE = 4100


def plain(text: bytes) -> bytes:
    """UTF-8 without what moves a cursor, sets a colour or cannot be seen; tabs and line ends stay."""
    if b"\x1b" in text or b"\xc2" in text:
        text = _ESCAPE.sub(b"", text.translate(None, _INSIDE))
    return text.translate(None, _CONTROLS)


def coloured(text: bytes) -> bytes:
    """Likewise, with its colours as logs keep them."""
    if b"\x1b" not in text:
        return plain(text)
    shown = _ESCAPE.sub(lambda found: colours.kept(found[0]), text.translate(None, _INSIDE))
    return shown.translate(None, _BUT_ESCAPE)  # those that are left begin a colour


class Cleaner:
    """UTF-8 that arrives anyhow ▸ whole lines, cleaned; of one that was rewritten, what it said last."""

    def __init__(self, shown: Callable[[bytes], bytes] = plain) -> None:
        self._shown = shown
        self._escape = b""
        self._line = b""

    def feed(self, text: bytes) -> bytes:
        """The lines that have ended, and pieces of one that is longer than LONGEST."""
        whole, newline, rest = (self._line + self._plain(text)).rpartition(b"\n")
        self._line = _so_far(rest)
        lines = _as_seen(whole) + newline
        if len(self._line) <= LONGEST:
            return lines
        piece, self._line = self._line.rstrip(b"\r"), b""
        return lines + piece

    def end(self) -> bytes:
        """The line that never ended."""
        rest, self._escape, self._line = self._line, b"", b""
        return _as_seen(rest)

    def _plain(self, text: bytes) -> bytes:
        text = self._escape + text.translate(None, _INSIDE)
        cut = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
        self._escape = cut[0] if cut else b""
        return self._shown(text[: cut.start()] if cut else text)


def _as_seen(lines: bytes) -> bytes:
    if b"\r" not in lines:
        return lines
    return b"\n".join(line.rstrip(b"\r").rpartition(b"\r")[2] for line in lines.split(b"\n"))


def _so_far(line: bytes) -> bytes:
    """A line that has not ended: whether a carriage return at its end rewrites it is not known yet."""
    if b"\r" not in line:
        return line
    said = line.rstrip(b"\r")
    return said.rpartition(b"\r")[2] + line[len(said) :][:1]
