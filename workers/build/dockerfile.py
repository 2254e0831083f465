"""A Dockerfile ▸ its instructions, read as BuildKit's own parser does.

Directives, a byte-order mark, lines that go on, comments between them, flags, heredocs:
https://github.com/moby/buildkit/blob/v0.24.0/frontend/dockerfile/parser/parser.go
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import deque
from dataclasses import dataclass

from workers.build.words import BLANKS, Unreadable, heredocs

_LARGEST = 256 * 1024  # bytes: more is not read here
_BOM = b"\xef\xbb\xbf"
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("syntax", "escape", "check")
_PARTED = re.compile(r"[\t\v\f\r ]+")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True)
class Instruction:
    """One instruction without its heredocs' lines."""

    name: str  # in capitals
    flags: tuple[str, ...]  # without their quotes: --from=…
    rest: str

    @property
    def words(self) -> list[str]:
        """What is parted by blanks, whatever quotes say."""
        return _PARTED.split(self.rest) if self.rest else []

    @property
    def array(self) -> list[str] | None:
        """The words where they are written as JSON. Raises Unreadable."""
        found = None
        if self.rest.startswith("["):
            with contextlib.suppress(ValueError, RecursionError):
                found = json.loads(self.rest)
        if found is not None and not all(isinstance(word, str) for word in found):
            raise Unreadable(f"{self.rest[:100]} has something else than strings")
        return found


@dataclass(frozen=True)
class Dockerfile:
    """What is in one."""

    escape: str
    instructions: tuple[Instruction, ...]


def read(content: bytes, *, with_heredocs: bool = True) -> Dockerfile:
    """Raises Unreadable where Docker refuses it. Without heredocs: as builders do that know none."""
    text = _text(content)
    lines = deque(text.split("\n"))
    escape = _directives(text, "#").get("escape", "\\")
    if escape not in ("\\", "`"):
        raise Unreadable(f"the escape token {escape}")
    instructions = []
    while lines:
        if line := _whole(lines, escape):
            instruction = _instruction(line, escape)
            instructions.append(instruction)
            if with_heredocs and _may_begin_heredocs(instruction, escape):
                _skip_heredocs(line, lines)
    return Dockerfile(escape, tuple(instructions))


def syntax(content: bytes) -> str | None:
    """The image that a Dockerfile wants to be read by, in BuildKit's place. Raises Unreadable.

    As BuildKit looks for it: behind a #! line too, and in files that are no Dockerfiles at all.
    """
    text = _text(content)
    text = text.partition("\n")[2] if text.startswith("#!") else text
    for comment in ("#", "//"):
        if said := _directives(text, comment).get("syntax"):
            return said.split(" ")[0]
    with contextlib.suppress(ValueError, RecursionError):
        whole = json.loads(text)
        if isinstance(whole, dict) and isinstance(said := whole.get("syntax"), str):
            return said
    return None


def nested(instruction: Instruction, escape: str) -> Instruction:
    """What an ONBUILD says is to be done later."""
    return _instruction(instruction.rest, escape)


def _text(content: bytes) -> str:
    if len(content) > _LARGEST:
        raise Unreadable(f"more than {_LARGEST // 1024} KiB")
    return content.removeprefix(_BOM).decode(errors="replace")


def _directives(text: str, comment: str) -> dict[str, str]:
    """What the very first lines tell a parser. Raises Unreadable."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        said = line.strip(BLANKS)
        match = _DIRECTIVE.fullmatch(said.removeprefix(comment).lstrip(BLANKS))
        name = match[1].lower() if match else ""
        if not match or not said.startswith(comment) or name not in _DIRECTIVES:
            break
        if name in found:
            raise Unreadable(f"two directives {name}")
        found[name] = match[2]
    return found


def _whole(lines: deque[str], escape: str) -> str:
    """The next line with those that it goes on in; empty if it is a comment or there is nothing."""
    first = lines.popleft()
    line, goes_on = _continued("" if _is_comment(first) else first.lstrip(BLANKS).rstrip("\r"), escape)
    while goes_on and lines:
        more = lines.popleft()
        if more.strip(BLANKS) and not _is_comment(more):
            more, goes_on = _continued(more.rstrip("\r"), escape)
            line += more
    return line.strip(BLANKS)


def _continued(line: str, escape: str) -> tuple[str, bool]:
    token = re.escape(escape)
    whole, times = re.subn(rf"(^|[^{token}]){token}[ \t]*\Z", r"\1", line)
    return whole, times > 0


def _is_comment(line: str) -> bool:
    return line.lstrip(BLANKS).startswith("#")


def _instruction(line: str, escape: str) -> Instruction:
    name, *rest = _PARTED.split(line, maxsplit=1)
    flags, words = _flags(rest[0] if rest else "", escape)
    return Instruction(name.upper(), tuple(flags), words.strip(BLANKS))


def _flags(text: str, escape: str) -> tuple[list[str], str]:
    """Those at the start, and what follows them."""
    flags: list[str] = []
    at = 0
    while text.startswith("--", at := _past_blanks(text, at)):
        flag, at = _flag(text, at, escape)
        if flag == "--":
            break
        flags.append(flag)
    return flags, text[at:]


def _past_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in BLANKS:
        at += 1
    return at


def _flag(text: str, at: int, escape: str) -> tuple[str, int]:
    """The flag that begins there, without its quotes, and where it ends."""
    flag, quote = "", ""
    while at < len(text) and (quote or text[at] not in BLANKS):
        char = text[at]
        at += 1
        if char == quote:
            quote = ""
        elif char in "'\"" and not quote:
            quote = char
        else:
            flag += text[at : at + 1] if char == escape else char
            at += char == escape
    return flag, at


def _may_begin_heredocs(instruction: Instruction, escape: str) -> bool:
    if instruction.name == "ONBUILD":
        instruction = nested(instruction, escape)
    return instruction.name in _WITH_HEREDOCS and instruction.array is None


def _skip_heredocs(line: str, lines: deque[str]) -> None:
    for heredoc in heredocs(line) if "<<" in line else ():
        while True:
            if not lines:
                raise Unreadable(f"a heredoc without its end, {heredoc.end}")
            inside = lines.popleft().rstrip("\r")
            if (inside.lstrip("\t") if heredoc.tabs else inside) == heredoc.end:
                break
