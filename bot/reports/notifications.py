"""What channels are told: the texts. Plain text, since each service has a markup of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import BaseModel

from bot.reports.texts import shortened

MOST_LINES = 20
_MOST_LINE = 300  # characters
# What calls people, or begins markup: <!channel>, @here, #general, |, [text](link), *.
_CALLS = re.compile(r"([@#<](?=[\w!@#&])|\](?=\())")

_SAID = {
    "deploy.failed": "the deploy failed",
    "deploy.recovered": "deploys go well again",
    "crash": "the app suffers",
    "crash.recovered": "the app is well again",
    "backup.failed": "no good backup",
    "backup.recovered": "backups go well again",
    "task.failed": "the task failed",
    "task.recovered": "the task goes well again",
    "approval.waiting": "waits for an approval",
    "webhook.disabled": "gets nothing any more",
    "test": "a test: messages reach this channel",
}


class Item(BaseModel):
    """One thing that a channel is told. `link` is whole."""

    event: str
    repository: str = ""
    environment: str = ""
    name: str = ""
    problem: str = ""
    link: str = ""

    @property
    def good(self) -> bool:
        return self.event.endswith(".recovered") or self.event == "test"


def title(items: Sequence[Item]) -> str:
    """One line for the whole message."""
    if len(items) == 1:
        return shortened(_calm(f"{_where(items[0])}: {_SAID.get(items[0].event, items[0].event)}"), 150)
    bad = sum(not item.good for item in items)
    well = len(items) - bad
    parts = [f"{bad} need a look" if bad else "", f"{well} well again" if well else ""]
    return f"Blacktree: {', '.join(filter(None, parts))}"


def body(items: Sequence[Item], base_url: str) -> str:
    """A line for each, what is wrong first; of very many the first, and where the rest is."""
    ordered = sorted(items, key=lambda item: item.good)
    lines = [_line(item) for item in ordered[:MOST_LINES]]
    if more := len(ordered) - len(lines):
        lines.append(f"… and {more} more: {base_url}/")
    return "\n".join(lines)


def _line(item: Item) -> str:
    mark = "✅" if item.good else "❌"
    problem = f": {item.problem}" if item.problem else ""
    said = shortened(_calm(f"{_where(item)}: {_SAID.get(item.event, item.event)}{problem}"), _MOST_LINE)
    return f"{mark} {said} {item.link}".rstrip()


def _where(item: Item) -> str:
    return " · ".join(filter(None, (item.repository, item.environment, item.name))) or "Blacktree"


def _calm(text: str) -> str:
    """Text that calls nobody, however a service reads it."""
    plain = "".join(one if one.isprintable() else " " for one in text)  # lines, and what turns text around
    return _CALLS.sub("\\1\u200b", plain)
