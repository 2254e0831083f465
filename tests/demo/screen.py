"""The terminal: a line for each thing that happens, and below them what goes on right now."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.rule import Rule
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_WIDE = 400  # columns where there is no terminal: lines stay whole
_SOURCES = {
    "you": "bold cyan",
    "demo": "bold",
    "webhook": "magenta",
    "run": "blue",
    "status": "yellow",
    "deployment": "yellow",
    "comment": "yellow",
    "reaction": "yellow",
    "live": "bold green",
}


@dataclass(frozen=True)
class Line:
    """Something that happened: who or what it came from, and rich markup."""

    source: str
    text: str


@dataclass(frozen=True)
class Ongoing:
    """Something that goes on, since a moment of `time.time()`."""

    text: str
    since: float


class Screen:
    """Lines everywhere; spinners and a progress bar where there is a terminal."""

    def __init__(self, chapters: int) -> None:
        self._console = Console(highlight=False)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, width=_WIDE)
        self._started = time.monotonic()
        self._chapters = chapters
        self._chapter = 0
        self._waiting: Ongoing | None = None
        self._ongoing: tuple[Ongoing, ...] = ()
        self._spinner = Spinner("dots", style="cyan")

    def live(self) -> AbstractContextManager[Any]:
        """Inside, what goes on is shown below the lines."""
        if not self._console.is_terminal:
            return nullcontext()
        return Live(
            console=self._console, get_renderable=self._below, transient=True, refresh_per_second=12,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip

    def chapter(self, title: str) -> None:
        """The next part of the story."""
        self._chapter += 1
        text = f"{self._chapter} · {title}"
        self._console.print()
        if self._console.is_terminal:
            self._console.print(Rule(Text(text, "bold"), align="left", style="dim"))
        else:
            self._console.print(f"== {text}")

    def say(self, line: Line) -> None:
        """A line with the seconds since the start; further lines of its text are set below its first."""
        seconds = f"{time.monotonic() - self._started:6.1f} s"
        first, *rest = line.text.splitlines()
        for when, source, text in ((seconds, line.source, first), *(("", "", more) for more in rest)):
            style = _SOURCES.get(source, "")
            if not self._console.is_terminal:
                self._console.print(f"{when:>8}  [{style or 'none'}]{source:<10}[/]  {text}".rstrip())
                continue
            row = Table.grid(padding=(0, 2, 0, 0))
            row.add_column(width=8, justify="right")
            row.add_column(width=10)
            row.add_column(overflow="fold")
            row.add_row(Text(when, "dim"), Text(source, style), Text.from_markup(text))
            self._console.print(row)

    def plain(self, text: str = "") -> None:
        """Rich markup as it is, never broken in two, so that it can be copied."""
        self._console.print(text, soft_wrap=True)

    def literal(self, text: str, style: str = "") -> None:
        """Somebody else's text, as it is."""
        self._console.print(Text(text, style), soft_wrap=True)

    def wait_for(self, what: str | None) -> None:
        """What the story waits for now."""
        self._waiting = Ongoing(what, time.time()) if what else None

    def ongoing(self, now: Iterable[Ongoing]) -> None:
        """The steps that run now."""
        self._ongoing = tuple(now)

    def _below(self) -> RenderableType:
        """Never empty: rich keeps the height of what it drew before when there is nothing to draw."""
        table = Table.grid(padding=(0, 1))
        for one in (*self._ongoing, *([self._waiting] if self._waiting else [])):
            spinner = self._spinner.render(time.monotonic())
            table.add_row(spinner, one.text, Text(f"{max(0.0, time.time() - one.since):.1f} s", "dim"))
        bar = Table.grid(padding=(0, 1))
        progress = ProgressBar(
            total=self._chapters, completed=min(self._chapter, self._chapters), width=24,
            complete_style="cyan", finished_style="green",
        )  # fmt: skip
        bar.add_row(progress, Text(f"{self._chapter}/{self._chapters}", "dim"))
        return Padding(Group(table, bar), (1, 0, 0, 2))
