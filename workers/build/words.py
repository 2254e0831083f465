"""The words of a Dockerfile, read as BuildKit's lexer does: quotes, escapes, variables, heredocs.

https://github.com/moby/buildkit/blob/v0.24.0/frontend/dockerfile/shell/lex.go
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# What a variable holds; None if it is not set. May raise what it likes.
Lookup = Callable[[str], str | None]

# What Go counts as blanks (unicode.IsSpace).
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_LONGEST = 1000  # characters that variables may fill in: each can hold twice what the one before does
_SHOWN = 100  # characters of a quotation
_NAME = re.compile(r"[0-9]+|[@*#?$!-]|\w+")
_HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)")


class Unreadable(Exception):
    """Docker refuses it, or reads it in a way that is not known here; the text says what."""


@dataclass(frozen=True)
class Heredoc:
    """Lines that follow an instruction, up to one that is `end`."""

    end: str
    tabs: bool  # whether tabs may stand before it


def expanded(word: str, lookup: Lookup, escape: str = "\\") -> str:
    """`word` with its variables filled in and without quotes. Raises Unreadable."""
    return "".join(text for text, _ in _Lexer(word, escape, lookup).read())


def heredocs(line: str) -> list[Heredoc]:
    """Those that an instruction begins, in their order. Raises Unreadable."""
    try:
        words = _split(_Lexer(line, "\\", None, raw=True).read())
    except Unreadable:
        return []
    found = []
    for match in filter(None, map(_HEREDOC.fullmatch, words)):
        end = _split(_Lexer(match[3], "\\", None).read())
        if len(end) == 1:
            found.append(Heredoc(end[0], tabs=bool(match[2])))
    return found


# Text, and whether blanks in it part words.
_Pieces = list[tuple[str, bool]]


class _Lexer:
    """Reads once. Without a `lookup` variables stay as they are; `raw`: quotes and escapes stay too."""

    def __init__(self, text: str, escape: str, lookup: Lookup | None, *, raw: bool = False) -> None:
        self._text = text
        self._at = 0
        self._escape = escape
        self._lookup = lookup
        self._raw = raw
        self._filled = 0

    def read(self, stop: str = "") -> _Pieces:
        """All that is left, or up to `stop`."""
        pieces: _Pieces = []
        while char := self._next():
            if char == stop:
                return pieces
            if char == "$":
                pieces.append((self._variable(), True))
            elif char == "<":
                pieces.append((self._arrows(), False))
            elif char == "'":
                pieces.append((self._single(), False))
            elif char == '"':
                pieces.append((self._double(), False))
            elif char == self._escape:
                pieces.append(((char if self._raw else "") + self._next(), False))
            else:
                pieces.append((char, True))
        if stop:
            raise self._refused(f"no {stop} where one is due")
        return pieces

    def _peek(self) -> str:
        """The next character; nothing at the end."""
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _quoted(self, inside: str, quote: str) -> str:
        return f"{quote}{inside}{quote}" if self._raw else inside

    def _arrows(self) -> str:
        """`<<` is one with the word behind it, whatever blanks are between."""
        if self._peek() != "<":
            return "<"
        self._next()
        blanks = ""
        while self._peek() and self._peek() in "\t\r ":
            blanks += self._next()
        return "<<" + blanks

    def _single(self) -> str:
        end = self._text.find("'", self._at)
        if end < 0:
            raise self._refused("a single quote without another")
        begin, self._at = self._at, end + 1
        return self._quoted(self._text[begin:end], "'")

    def _double(self) -> str:
        inside = ""
        while char := self._next():
            if char == '"':
                return self._quoted(inside, '"')
            if char == "$":
                inside += self._variable()
            elif char == self._escape:
                escapes = self._peek() in ('"', "$", self._escape)
                kept = char if self._raw or not escapes else ""
                inside += kept + (self._next() if escapes else "")
            else:
                inside += char
        raise self._refused("a double quote without another")

    def _variable(self) -> str:
        """What stands behind a `$`."""
        if self._peek() != "{":
            name = self._name()
            return self._value(name, f"${name}") if name else "$"
        self._next()
        name = self._name()
        how = self._next()
        if not name or not how:
            raise self._refused("a variable that is not written as Docker wants it")
        if how == "}":
            return self._value(name, f"${{{name}}}")
        how += self._next() if how == ":" else ""
        if how == "/":
            pattern, other = _text(self.read("/")), _text(self.read("}"))
            return self._unset(f"${{{name}/{pattern}/{other}}}")
        word = _text(self.read("}"))
        if self._lookup is None or how not in _CHOICES:
            return self._unset(f"${{{name}{how}{word}}}")
        value = self._filled_in(name)
        return _CHOICES[how](value or None if how.startswith(":") else value, value or "", word, name)

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found[0] if found else ""

    def _value(self, name: str, written: str) -> str:
        return written if self._lookup is None else self._filled_in(name) or ""

    def _filled_in(self, name: str) -> str | None:
        value = self._lookup(name) if self._lookup else None
        self._filled += len(value or "")
        if self._filled > _LONGEST:
            raise self._refused(f"variables of more than {_LONGEST} characters")
        return value

    def _unset(self, written: str) -> str:
        if self._lookup is not None:
            raise Unreadable(f"what {written[:_SHOWN]} stands for")
        return written

    def _refused(self, what: str) -> Unreadable:
        return Unreadable(f"{self._text[:_SHOWN]} has {what}")


def _or_refuse(known: str | None, value: str, word: str, name: str) -> str:
    if known is None:
        raise Unreadable(f"{name}: {word or 'it has to be set'}")
    return value


# How a variable is written ▸ what it gives; `known` is None where it counts as not set.
_CHOICES: dict[str, Callable[[str | None, str, str, str], str]] = {
    how: choice
    for mark, choice in (
        ("-", lambda known, value, word, _: word if known is None else value),
        ("+", lambda known, _, word, __: "" if known is None else word),
        ("?", _or_refuse),
    )
    for how in (mark, f":{mark}")
}


def _text(pieces: _Pieces) -> str:
    return "".join(text for text, _ in pieces)


def _split(pieces: _Pieces) -> list[str]:
    words: list[list[str]] = [[]]
    for text, parts in pieces:
        for char in text:
            if not (parts and char in BLANKS):
                words[-1].append(char)
            elif words[-1]:
                words.append([])
    return ["".join(word) for word in words if word]
