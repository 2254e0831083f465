"""Who is told, beside GitHub. A lane is one receiver: what it is owed goes one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.channels import EVENTS, Channel

STREAM = ("run", "job", "release")
EVERY = "*"
TEST = "test"  # what a channel is tested with
PING = "ping"  # what a webhook is tested with
KNOWN = (*STREAM, *EVENTS, EVERY)
_WEBHOOK, _CHANNEL = "webhook", "channel"


@dataclass(frozen=True)
class Lane:
    """A receiver: a webhook by its number, or a channel by its name; repository 0 is the instance."""

    webhook: int = 0
    repository_id: int = 0
    channel: str = ""

    def __str__(self) -> str:
        if self.webhook:
            return f"{_WEBHOOK}:{self.webhook}"
        return f"{_CHANNEL}:{self.repository_id}:{self.channel}"

    @classmethod
    def read(cls, text: str) -> Lane:
        kind, _, rest = text.partition(":")
        if kind == _WEBHOOK:
            return cls(webhook=int(rest))
        repository, _, name = rest.partition(":")
        return cls(repository_id=int(repository), channel=name)


def named(channels: Mapping[str, Any] | None) -> dict[str, Channel]:
    """A repository's channels, as its file has them; of what another version wrote, what is known."""
    fields = set(Channel.model_fields)
    kept = {name: {k: v for k, v in said.items() if k in fields} for name, said in (channels or {}).items()}
    for said in kept.values():
        if said.get("on") is not None:
            said["on"] = [event for event in said["on"] if event in EVENTS]
    return {name: Channel.model_validate(said) for name, said in kept.items()}


def is_test(event: str) -> bool:
    """Whether somebody asked for it: it goes out whatever stands against the rest."""
    return event in (TEST, PING)
