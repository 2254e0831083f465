"""Pure: who is told of what goes wrong, beside GitHub: the channels of a repository's file and of NOTIFY.

NOTIFY has them one by one, divided by `;`: `NAME: URL KEY=VALUE …`, such as
`ops: slack://TOKENS on=crash,backup.failed of=acme/*`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, SecretStr

from config.errors import nearest
from config.fields import EnvName, Glob
from config.habits import Listed
from config.parts import Part

Event = Literal[
    "deploy.failed",
    "deploy.recovered",
    "crash",
    "crash.recovered",
    "backup.failed",
    "backup.recovered",
    "task.failed",
    "task.recovered",
    "approval.waiting",
    "webhook.disabled",
]
EVENTS: tuple[str, ...] = get_args(Event)
NAMED = "named"  # of a channel that tells only of repositories whose file names it

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SCHEME = re.compile(r"[a-z][a-z0-9]*://\S+", re.IGNORECASE)
_KEYS = ("on", "of")
_PREVIEW = re.compile(r"pr-\d+")


class Channel(Part):
    """A channel of the repository's; without a secret it is the instance's of that name."""

    secret: EnvName | None = Field(
        None, description="name of the secret with its address; the instance's channel of this name if none"
    )
    on: Listed[Event] | None = Field(
        None, max_length=len(EVENTS), description="what is told; all if left out"
    )
    environments: Listed[Glob] = Field(
        [], max_length=32, description="globs of those that it is told of; all but previews if empty"
    )


@dataclass(frozen=True)
class Told:
    """A channel of the instance's."""

    name: str
    address: str = field(repr=False)
    on: tuple[str, ...] = EVENTS
    of: tuple[str, ...] = ("*",)

    def of_repository(self, full_name: str) -> bool:
        """Whether it tells of a repository whose file does not name it."""
        return any(fnmatchcase(full_name.casefold(), pattern.casefold()) for pattern in self.of)

    def may_be_named(self, full_name: str) -> bool:
        """Whether a repository's file may name it: `of` bounds those, too."""
        return NAMED in self.of or self.of_repository(full_name)


def wants(on: Collection[str] | None, environments: Sequence[str], event: str, environment: str) -> bool:
    """Whether a channel of these events and environments tells of this one."""
    if on is not None and event not in on:
        return False
    if not environment:
        return True
    if not environments:
        return not _PREVIEW.fullmatch(environment)
    return any(fnmatchcase(environment, pattern) for pattern in environments)


def parsed(text: str) -> tuple[Told, ...]:
    """The channels in `text`. Raises ValueError with what is wrong, which names no address."""
    found = tuple(
        _told(part.split()) for part in re.split(r"[;\n]\s*(?=\S+:\s)|;\s*\Z", text) if part.strip()
    )
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} stands twice: keep one of them")
    return found


def _told(words: Sequence[str]) -> Told:
    name, address, *rest = [*words, "", ""][: max(2, len(words))]
    name = name.removesuffix(":")
    if not words[0].endswith(":") or not _NAME.fullmatch(name) or not _SCHEME.fullmatch(address):
        raise ValueError("must be NAME: URL KEY=VALUE …, such as ops: slack://TOKENS on=crash,deploy.failed")
    given: dict[str, tuple[str, ...]] = {}
    for word in rest:
        key, equals, value = word.partition("=")
        if key not in _KEYS or not equals or not value:
            known = f"must be followed by on=EVENTS or of=REPOSITORIES.{nearest(key, _KEYS)}"
            raise ValueError(f"{name}: its address {known}")
        given[key] = tuple(filter(None, value.split(",")))
    for event in given.get("on", ()):
        if event not in EVENTS:
            raise ValueError(f"{name}: there is no event {event[:40]}.{nearest(event, EVENTS)}")
    return Told(name, address, given.get("on", EVENTS), given.get("of", ("*",)))


def _checked(value: Any) -> Any:
    parsed(value.get_secret_value())
    return value


ChannelsText = Annotated[SecretStr, AfterValidator(_checked)]
