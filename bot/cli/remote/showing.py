"""Tables for people, JSON for programs: colours and links where there is a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

COLOURS = {
    "succeeded": "green", "live": "green", "running": "yellow", "queued": "yellow", "waiting": "yellow",
    "failed": "red", "ailing": "red", "cancelled": "dim", "retired": "dim", "stopped": "dim",
    "asleep": "dim", "empty": "dim", "maintenance": "yellow", "starting": "yellow",
}  # fmt: skip
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def as_json(told: Any) -> None:
    typer.echo(json.dumps(told, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[Text | str]], otherwise: str) -> None:
    """These rows, or what is said where there are none. Nothing in them is markup."""
    console = Console()
    if not rows:
        console.print(otherwise, markup=False)
        return
    shown = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
    if not console.is_terminal:  # who reads it is a program, or a file: no line is broken
        console = Console(width=400)
    console.print(shown)


def said(text: str, url: str = "") -> None:
    """A sentence, and where there is more."""
    console = Console()
    console.print(text, markup=False, soft_wrap=True)
    if url:
        console.print(Text(url, Style(link=url)), soft_wrap=True)


def state(word: str) -> Text:
    return Text(word, COLOURS.get(word, ""))


def linked(text: str, url: str) -> Text:
    return Text(text, Style(link=url))


def ago(at: str | None) -> str:
    """How long ago that was, in one unit."""
    if not at:
        return "-"
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    return f"{int(seconds // size)} {unit}"


def overall(states: Sequence[str]) -> str:
    """Pure: one word for all jobs of a run."""
    for word in ("running", "failed", "queued", "waiting", "cancelled"):
        if word in states:
            return word
    return "succeeded" if states else "empty"


def place_state(place: dict[str, Any]) -> str:
    """Pure: one word for how an environment is."""
    if place["maintenance"]:
        return "maintenance"
    if place["asleep"]:
        return "asleep"
    if place["release"] is None:
        return "stopped" if place["stopped"] else "empty"
    return "ailing" if place["problem"] or any(one["failing"] for one in place["containers"]) else "live"
