"""What `blacktree run` shows: each step with its time and the end of its output, while it happens."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from workers.contract.messages import (
    Event,
    ImageResult,
    LogChunk,
    StepChanged,
    StepReport,
    now,
)

if TYPE_CHECKING:
    from workers.local import Ended

_SHOWN = 8  # lines of output below the running step
_KEPT = 30  # lines that are shown of a failure
_LONGEST = 64 * 1024  # characters of a line that is waited for
_EVERY = 10  # pictures a second


@dataclass
class _Part:
    """An image or an environment, as far as it has come."""

    name: str
    steps: dict[str, StepReport] = field(default_factory=dict)
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT))
    rest: str = ""

    def hear(self, event: Event) -> str:
        """Take in an event; gives the whole lines that it brought."""
        if isinstance(event, StepChanged):
            self.steps[event.step.name] = event.step
        if not isinstance(event, LogChunk):
            return ""
        *whole, self.rest = (self.rest + event.text).split("\n")
        if len(self.rest) > _LONGEST:
            whole, self.rest = [*whole, self.rest], ""
        self.lines.extend(whole)
        return "\n".join(whole) + "\n" if whole else ""


class View:
    """Shows a run as it goes."""

    def __init__(self, console: Console, live: Live | None) -> None:
        self._console = console
        self._live = live
        self._parts: list[_Part] = []

    def begin(self, path: Path, builder: str) -> None:
        self._print(Text.assemble(("blacktree run ", "bold"), str(path), (f" · {builder}", "dim")))

    def tell(self, name: str) -> Callable[[Event], Awaitable[None]]:
        """Takes the events of one part from now on."""
        part = _Part(name)
        self._parts.append(part)

        async def hear(event: Event) -> None:
            said = part.hear(event)
            if self._live is None:
                self.say(said)

        return hear

    def say(self, text: str) -> None:
        """Output as it came."""
        if text:
            self._console.print(Text.from_ansi(text.removesuffix("\n")), soft_wrap=True)

    def built(self, ended: Ended, image: ImageResult) -> None:
        self._done()
        cached = f", {image.cached} of {image.layers} layers from cache" if image.layers else ""
        what = f"{ended.name} is built: {image.size / 1e6:.1f} MB{cached}"
        self._print(Text.assemble(("✓ ", "green"), what, (f"\n  {image.digest}", "dim")))

    def failed(self, ended: Ended) -> None:
        """The end of its output, if that was not shown already, and what to do."""
        part = self._parts[-1]
        self._done()
        if self._live is not None:
            self.say("\n".join([*part.lines, part.rest]))
        if ended.result.outcome == "failed":
            step = f"{ended.result.step}: " if ended.result.step else ""
            self._print(
                Text.assemble(("✗ ", "red"), (f"{ended.name}: ", "bold"), step, ended.result.sentence)
            )

    def serving(self, place: str, urls: Mapping[str, str]) -> None:
        """`urls` by process; none has what only works."""
        self._done()
        said = Text.assemble(("✓ ", "green"), f"{place} runs")
        for count, (process, url) in enumerate(urls.items()):
            said.append(f", {process} at " if count else " at ").append(url, "bold")
        self._print(said.append(" until Ctrl-C"))

    def stopped(self) -> None:
        self._parts.clear()
        self._print(Text("stopped; nothing is left running", "yellow"))

    def __rich__(self) -> RenderableType:
        """The live picture: what runs, and the last lines of it."""
        if not self._parts:
            return Text("")
        part = self._parts[-1]
        return Group(_steps(part), *(Text(line, "dim", no_wrap=True) for line in list(part.lines)[-_SHOWN:]))

    def _done(self) -> None:
        """Leave the steps of the last part on the screen, above what comes."""
        part = self._parts[-1]
        if part.steps:
            self._console.print(_steps(part))
        self._parts.clear()

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _steps(part: _Part) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    for step in part.steps.values():
        seconds = ((step.ended_at or now()) - step.started_at).total_seconds()
        mark: RenderableType = Spinner("dots")
        if step.ended_at is not None:
            mark = Text("✓", "green") if step.ok else Text("✗", "red")
        table.add_row(mark, Text(part.name, "bold"), step.name, Text(f"{seconds:.1f} s", "dim"))
    return table


@contextlib.contextmanager
def viewing(*, plain: bool) -> Iterator[View]:
    """A view on standard output: a live one at a terminal, else lines."""
    console = Console(highlight=False)
    if plain or not console.is_terminal:
        yield View(console, None)
        return
    with Live(console=console, refresh_per_second=_EVERY, transient=True) as live:
        view = View(console, live)
        live.update(view)
        yield view
        live.update(Text(""))
