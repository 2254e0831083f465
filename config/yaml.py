"""From YAML that anybody may have written to texts, lists and mappings with their lines.

libyaml reads it, in time that grows with its length only; what it tells is put together here: scalars stay
as they are written (1.10 is no 1.1), and nothing is ever made of a tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from yaml import CBaseLoader, events
from yaml.error import YAMLError
from yaml.reader import ReaderError

from config.errors import ConfigError
from config.slips import is_unclosed, told

FILE = ".blacktree.yml"
MOST_BYTES = 65_536
MOST_VALUES = 8_000  # once all aliases stand for what they name; so do characters
MOST_CHARACTERS = 2 * MOST_BYTES
DEEPEST = 32
_EMPTY = ("", "~", "null", "Null", "NULL")
_MERGE = "<<"
_BREAK = re.compile(r"\r\n|[\n\r\x85\u2028\u2029]")
_CORE = ("str", "int", "float", "bool", "map", "seq")
_TAGS = {None, "!", *(f"tag:yaml.org,2002:{name}" for name in _CORE)}


class Mapping(dict[str, Any]):
    """A mapping that knows the lines (from 1) of its keys."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}


class Listing(list[Any]):
    """A list that knows the lines (from 1) of its entries."""

    def __init__(self) -> None:
        self.lines: list[int] = []


@dataclass
class _Size:
    """How much something is, written out."""

    values: int = 1
    characters: int = 0

    def add(self, other: _Size) -> None:
        self.values += other.values
        self.characters += other.characters
        if self.values > MOST_VALUES:
            raise ConfigError(f"{FILE}: has over {MOST_VALUES} values, what its aliases stand for included")
        if self.characters > MOST_CHARACTERS:
            raise ConfigError(f"{FILE}: its aliases stand for over {MOST_CHARACTERS} characters")


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    into: Mapping | Listing
    anchor: str | None
    line: int
    size: _Size = field(default_factory=_Size)
    key: str | None = None  # of a mapping: what the next value belongs to
    key_line: int = 0
    merged: list[tuple[int, Any]] = field(default_factory=list)


def load(text: str) -> Any:
    """What the YAML holds; None if nothing. Raises ConfigError where it is none, or made to exhaust us."""
    try:
        long = len(text.encode()) > MOST_BYTES
    except UnicodeEncodeError:
        raise ConfigError(f"{FILE}: is not UTF-8") from None
    if long:
        raise ConfigError(f"{FILE}: is over {MOST_BYTES} bytes")
    try:
        return _Builder().built(_events(text))
    except YAMLError as error:
        raise _fault(_line(text, error), f"is not YAML: {told(error)}") from None


def _events(text: str) -> Iterator[events.Event]:
    parser = CBaseLoader(text.removeprefix("\ufeff"))
    while (event := parser.get_event()) is not None:
        yield event


def _line(text: str, error: YAMLError) -> int:
    """Where the parser stumbled: of what is never closed, where it begins."""
    if isinstance(error, ReaderError):
        return len(_BREAK.findall(text, 0, error.position)) + 1
    mark = getattr(error, "problem_mark", None)
    if is_unclosed(error):
        mark = getattr(error, "context_mark", None) or mark
    return min(mark.line, len(_BREAK.findall(text.rstrip()))) + 1 if mark else 1


def _fault(line: int, sentence: str) -> ConfigError:
    return ConfigError(f"{FILE}:{line}: {sentence}")


class _Builder:
    """Puts one document together, an event at a time."""

    def __init__(self) -> None:
        self._root: list[Any] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, _Size]] = {}

    def built(self, told: Iterator[events.Event]) -> Any:
        for event in told:
            line = event.start_mark.line + 1 if event.start_mark else 1
            if isinstance(event, events.DocumentStartEvent) and self._root:
                raise _fault(line, "is a second document: keep one, without the --- between them")
            if isinstance(event, events.AliasEvent):
                self._put(*self._named(event.anchor or "", line), line)
            elif isinstance(event, events.ScalarEvent):
                self._scalar(event, line)
            elif isinstance(event, events.CollectionStartEvent):
                self._begin(event, line)
            elif isinstance(event, events.CollectionEndEvent):
                self._end()
        return self._root[0] if self._root else None

    def _scalar(self, event: events.ScalarEvent, line: int) -> None:
        _checked_tag(event.tag, line)
        empty = not event.style and event.tag is None and event.value in _EMPTY
        value, size = None if empty else event.value, _Size(1, len(event.value))
        if event.anchor:
            self._anchors[event.anchor] = (value, size)
        self._put(value, size, line)

    def _begin(self, event: events.CollectionStartEvent, line: int) -> None:
        _checked_tag(event.tag, line)
        if len(self._open) >= DEEPEST:
            raise _fault(line, f"is nested too deeply: {DEEPEST} levels at most")
        into = Mapping() if isinstance(event, events.MappingStartEvent) else Listing()
        self._open.append(_Open(into, event.anchor, line))

    def _end(self) -> None:
        done = self._open.pop()
        for line, value in done.merged:
            _merge(done.into, line, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.into, done.size)
        self._put(done.into, done.size, done.line)

    def _named(self, anchor: str, line: int) -> tuple[Any, _Size]:
        if any(one.anchor == anchor for one in self._open):
            raise _fault(line, f"*{anchor[:40]} stands inside of what it names: write that out")
        if anchor not in self._anchors:
            raise _fault(line, f"there is no anchor &{anchor[:40]} above *{anchor[:40]}")
        return self._anchors[anchor]

    def _put(self, value: Any, size: _Size, line: int) -> None:
        """Give a value to what is open; to a mapping, keys and values take turns."""
        if not self._open:
            self._root.append(value)
            return
        here = self._open[-1]
        here.size.add(size)
        if isinstance(here.into, Listing):
            here.into.append(value)
            here.into.lines.append(line)
        elif here.key is None:
            here.key, here.key_line = _key(value, here.into, line), line
        elif here.key == _MERGE:
            here.merged.append((here.key_line, value))
            here.key = None
        else:
            here.into[here.key] = value
            here.into.lines[here.key] = here.key_line
            here.key = None


def _key(value: Any, into: Mapping, line: int) -> str:
    if isinstance(value, Mapping | Listing):
        raise _fault(line, "a list or a mapping is no key: write KEY: VALUE")
    key = str(value or "")
    if key in into:
        raise _fault(line, f"{' '.join(key[:80].split())} stands twice: keep one of them")
    return key


def _merge(into: Mapping | Listing, line: int, value: Any) -> None:
    """What `<<` names, where the mapping has no key of that name itself; of several the first one wins."""
    for one in value if isinstance(value, Listing) else [value]:
        if not isinstance(into, Mapping) or not isinstance(one, Mapping):
            raise _fault(line, "<< takes the name of a mapping, such as *shared, or a list of such")
        for key in [key for key in one if key not in into]:
            into[key] = one[key]
            into.lines[key] = one.lines[key]


def _checked_tag(tag: str | None, line: int) -> None:
    if tag not in _TAGS:
        raise _fault(line, f"the tag {' '.join(str(tag)[:80].split())} means nothing here: remove it")
