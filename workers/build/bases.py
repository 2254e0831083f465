"""Pure: which images a build starts or copies from, by its Dockerfile and arguments."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from workers.build import dockerfile
from workers.build.dockerfile import Instruction
from workers.build.words import BLANKS, Unreadable, expanded

_REMOTE = re.compile(r"[a-z+]+://|[^/]+@[^/]+:", re.IGNORECASE)
# https://pkg.go.dev/github.com/distribution/reference
_REFERENCE = re.compile(
    r"(\[[0-9a-f:]+\](:\d+)?/)?[a-z0-9][a-z0-9._/:-]*(@sha256:[0-9a-f]{64})?", re.IGNORECASE
)
# What a builder knows by itself, each time anew: of the platform, and what it is given besides a build's own.
_OF_PLATFORM = re.compile(r"(BUILD|TARGET)(PLATFORM|OS|OSVERSION|ARCH|VARIANT|STAGE)")
_OF_BUILD = re.compile(r"SOURCE_DATE_EPOCH|BUILDKIT_.*")
_SYNTAX = "BUILDKIT_SYNTAX"  # an argument that goes before the directive


class Unknown(Exception):
    """Not all inputs are known, so that no other build has the same for sure; the text says which."""


class Refused(Unknown):
    """No builder takes this Dockerfile: a FROM of it names no image, and no frontend reads it otherwise."""


class _NamesNone(Unreadable):
    """A FROM that names no image."""


@dataclass(frozen=True)
class Bases:
    """What a build takes from elsewhere, by all stages of its Dockerfile, needed or not."""

    images: list[str]  # references; the frontend is one of them
    frontend: str  # the image that reads the Dockerfile in the builder's place; empty for none
    fetched: str  # the first that ADD fetches and nothing holds to be what it was; empty for none


def unfetched(found: Bases) -> list[str]:
    """All that a build takes from, where these are images alone. Raises Unknown."""
    if found.fetched:
        raise Unknown(f"what ADD fetches: {found.fetched[:100]}")
    return found.images


def read(content: bytes, args: Mapping[str, str], *, with_heredocs: bool = True) -> Bases:
    """What a build with this Dockerfile takes from elsewhere. Raises Unknown.

    Without heredocs: as builders read it that know none, to whom their lines are instructions.
    """
    named = frontend(content, args)
    try:
        file = dockerfile.read(content, with_heredocs=with_heredocs)
        reading = _Reading(args, file.escape)
        for instruction in file.instructions:
            reading.read(instruction)
    except _NamesNone as unreadable:
        raise (Unknown if named else Refused)(f"the Dockerfile: {unreadable}") from None
    except Unreadable as unreadable:
        raise Unknown(f"the Dockerfile: {unreadable}") from None
    except RecursionError:
        raise Unknown("the Dockerfile: it is nested too deeply") from None
    found = {name for name in (named, *reading.found) if name and name != "scratch"}
    for name in found:
        if not _REFERENCE.fullmatch(name):
            raise Unknown(f"the image {name[:100]} of the Dockerfile")
    return Bases(sorted(found), named, reading.fetched)


def frontend(content: bytes, args: Mapping[str, str]) -> str:
    """The image that reads the Dockerfile in the builder's place; empty for none. Raises Unknown."""
    try:
        return next(iter(args.get(_SYNTAX, "").split()), dockerfile.syntax(content) or "")
    except Unreadable as unreadable:
        raise Unknown(f"the Dockerfile: {unreadable}") from None


@dataclass
class _Reading:
    """What is known so far, from the first line down."""

    args: Mapping[str, str]
    escape: str
    found: list[str] = field(default_factory=list)
    fetched: str = ""
    _values: dict[str, str] = field(default_factory=dict)  # of the arguments before the first FROM
    _stages: set[str] = field(default_factory=set)
    _is_in_stage: bool = False

    def read(self, instruction: Instruction) -> None:
        match instruction.name:
            case "FROM":
                self._begin_stage(instruction.words)
            case "ARG" if not self._is_in_stage:
                self._declare(instruction.rest)
            case "ONBUILD":  # which a later stage of this very file may set off
                self.read(dockerfile.nested(instruction, self.escape))
            case "COPY" | "RUN":
                self._copy(instruction)
            case "ADD":
                self.fetched = self.fetched or _fetched(instruction)

    def _begin_stage(self, words: list[str]) -> None:
        self._is_in_stage = True
        if len(words) not in (1, 3):
            raise _NamesNone("FROM requires either one or three arguments")
        base = expanded(words[0], self._lookup, self.escape)
        if not base:
            raise Unreadable(f"{words[0]} stands for nothing")
        self._take(base)
        self._stages |= {word.lower() for word in words[2:]}

    def _declare(self, rest: str) -> None:
        for word in _words(rest, self.escape):
            name, has_value, value = word.partition("=")
            if name in self.args:
                self._values[name] = self.args[name]
            elif has_value and not _OF_BUILD.fullmatch(name):
                self._values[name] = expanded(value, self._lookup, self.escape)

    def _lookup(self, name: str) -> str | None:
        known = name in self._values or (name in self.args and _OF_PLATFORM.fullmatch(name))
        if not known and (_OF_PLATFORM.fullmatch(name) or _OF_BUILD.fullmatch(name)):
            raise Unreadable(f"the {name} that an image's name has in it")
        return {**self.args, **self._values}[name] if known else None

    def _copy(self, instruction: Instruction) -> None:
        for flag in instruction.flags:
            name, _, value = flag.partition("=")
            if name == "--from" and not value.isdecimal():  # the number of a stage
                self._take(value)
            elif name == "--mount":
                for source in _mounted_from(value):
                    self._take(source)

    def _take(self, name: str) -> None:
        if name.lower() not in self._stages:
            self.found.append(name)


def _words(text: str, escape: str) -> list[str]:
    """Parted by blanks outside of quotes; quotes and escapes stay.

    https://github.com/moby/buildkit/blob/v0.24.0/frontend/dockerfile/parser/line_parsers.go (parseWords)
    """
    token = re.escape(escape)
    double = rf'"(?:{token}.|[^"{token}])*(?:"|\Z)'
    return re.findall(rf"(?:{token}.|'[^']*(?:'|\Z)|{double}|[^{BLANKS}'\"{token}])+", text, re.DOTALL)


def _mounted_from(mount: str) -> Iterator[str]:
    try:
        fields = next(csv.reader([mount], strict=True), [])
    except csv.Error:
        raise Unreadable(f"--mount={mount[:100]}") from None
    for entry in fields:
        key, _, value = entry.partition("=")
        if key.lower() == "from" and value:
            yield value


def _fetched(instruction: Instruction) -> str:
    """What is fetched may change; what a checksum holds may not, and the Dockerfile has that in it."""
    pinned = any(flag.startswith("--checksum=") and "$" not in flag for flag in instruction.flags)
    sources = (instruction.array or instruction.words)[:-1]
    for source in (word.strip("\"'") for word in sources):
        if not pinned and ("$" in source or _REMOTE.match(source)) and not source.startswith("<<"):
            return source
    return ""
