"""Pure: `${NAME:-default}` as Compose fills it in.

https://docs.docker.com/reference/compose-file/interpolation/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_BEGIN = re.compile(r"\$(?:\$|(?P<plain>[A-Za-z_][A-Za-z0-9_]*)|\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*))?")
_SPECIAL, _SPECIAL_NESTED = re.compile(r"\$"), re.compile(r"[$}]")
_OPERATOR = re.compile(r":?[-?+]")
_DEEPEST = 8
_MOST = 8192  # characters that one text may become


class Uninterpolated(ValueError):
    """A text that can't be filled in; its own text says why."""


@dataclass(frozen=True)
class Missing:
    """A variable that has no value anywhere."""

    name: str
    told: str = ""  # what the file says about it: `${NAME:?told}`


Part = str | Missing


@dataclass(frozen=True)
class Unfilled:
    """A text with variables that have no value."""

    parts: tuple[Part, ...]

    @property
    def missing(self) -> list[Missing]:
        return [part for part in self.parts if isinstance(part, Missing)]

    @property
    def whole(self) -> str | None:
        """The variable's name where the text is nothing else."""
        first = self.parts[0]
        return first.name if isinstance(first, Missing) and len(self.parts) == 1 else None

    @property
    def template(self) -> str:
        """As `provides` of a service has it: {NAME} stands for the variable."""
        return "".join(
            f"{{{part.name}}}" if isinstance(part, Missing) else part.replace("{", "{{").replace("}", "}}")
            for part in self.parts
        )


def text_of(parts: tuple[Part, ...]) -> str | Unfilled:
    """The text, where nothing is missing in it."""
    if any(isinstance(part, Missing) for part in parts):
        return Unfilled(parts)
    return "".join(part for part in parts if isinstance(part, str))


def filled(text: str, values: Mapping[str, str]) -> tuple[Part, ...]:
    """What a text is once its variables have their values; those that have none stay, as Missing.

    Raises Uninterpolated.
    """
    parts, end = _filled(text, 0, values, nested=0)
    assert end == len(text), "only a nested text ends early"  # noqa: S101
    return parts


def _filled(text: str, at: int, values: Mapping[str, str], nested: int) -> tuple[tuple[Part, ...], int]:
    """From `at` to the end, or within braces to their end."""
    if nested > _DEEPEST:
        raise Uninterpolated(f"its variables are nested too deeply: {_DEEPEST} levels at most")
    parts: list[Part] = []
    size = 0
    while at < len(text) and not (nested and text[at] == "}"):
        if size > _MOST:
            raise Uninterpolated(f"becomes longer than {_MOST} characters")
        before = len(parts)
        if text[at] != "$":
            end = _plain(text, at, nested)
            parts.append(text[at:end])
            size, at = size + end - at, end
            continue
        found = _BEGIN.match(text, at)
        assert found, "it begins with $"  # noqa: S101
        if found[0] == "$$":
            parts.append("$")
            at = found.end()
        elif found["plain"]:
            parts.append(values.get(found["plain"], Missing(found["plain"])))
            at = found.end()
        elif found["braced"]:
            more, at = _braced(text, found.end(), found["braced"], values, nested)
            parts += more
        else:
            raise Uninterpolated(f"{text[at : at + 20]} is no variable: write $$ for a $")
        size += sum(len(part) for part in parts[before:] if isinstance(part, str))
    return _joined(parts), at


def _plain(text: str, at: int, nested: int) -> int:
    """Where what is no variable ends."""
    found = (_SPECIAL_NESTED if nested else _SPECIAL).search(text, at)
    return found.start() if found else len(text)


def _braced(
    text: str, at: int, name: str, values: Mapping[str, str], nested: int
) -> tuple[tuple[Part, ...], int]:
    operator = _OPERATOR.match(text, at)
    inner: tuple[Part, ...] = ()
    if operator:
        inner, at = _filled(text, operator.end(), values, nested + 1)
    if text[at : at + 1] != "}":
        raise Uninterpolated(f"${{{name} is not closed, or has something else than :- - :? ? :+ + in it")
    kind = operator[0] if operator else ""
    value = values.get(name)
    there = bool(value) if kind.startswith(":") else value is not None
    if kind.endswith("+"):
        return (inner if there else ()), at + 1
    if there:
        return (value or "",), at + 1
    if kind.endswith("-"):
        return inner, at + 1
    told = "".join(part for part in inner if isinstance(part, str))
    return (Missing(name, told),), at + 1


def _joined(parts: list[Part]) -> tuple[Part, ...]:
    """Texts that follow each other are one."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(last := joined[-1], str):
            joined[-1] = last + part
        else:
            joined.append(part)
    if sum(len(part) for part in joined if isinstance(part, str)) > _MOST:
        raise Uninterpolated(f"becomes longer than {_MOST} characters")
    return tuple(joined)
