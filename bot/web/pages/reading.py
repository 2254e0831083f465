"""A log without scripts: its lines in pages of plain HTML, and two attempts of a job beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import StepRow
from bot.web.access import number
from bot.web.pages import colours, jobs, waterfall
from bot.web.pages.clock import Clock
from bot.web.pages.render import NOTHING, Pages, duration

PAGE = 1000  # lines
_BESIDE = 300  # likewise, of each of two attempts
_LONGEST = 1024 * 1024  # bytes of what is shown at once


@dataclass(frozen=True)
class Shown:
    """A line, and when it came, if that was kept."""

    number: int
    text: Markup
    at: datetime | None


@dataclass(frozen=True)
class Lines:
    """Some that follow each other, of so many `whole`."""

    shown: Sequence[Shown] = ()
    whole: int = 0

    @property
    def before(self) -> int | None:
        """Where the page before begins, if there is one."""
        first = self.shown[0].number if self.shown else self.whole + 1
        return max(1, first - PAGE) if first > 1 else None

    @property
    def after(self) -> int | None:
        return self.shown[-1].number + 1 if self.shown and self.shown[-1].number < self.whole else None


@dataclass(frozen=True)
class Reading:
    """The routes."""

    pages: Pages
    store: Store
    logs: LogStore

    def routes(self) -> list[Route]:
        return [Route("/jobs/{id}/lines", self.lines), Route("/jobs/{id}/attempts", self.attempts)]

    async def lines(self, request: Request) -> Response:
        """A page of a log, from line `?from=` on."""
        view = await jobs.found(self.store, request)
        attempt = number(request, "attempt", view.job.attempt)
        some = await read(self.logs, view.job.id, attempt, max(1, number(request, "from", 1)) - 1, PAGE)
        return self.pages.shown(request, "lines", view=view, attempt=attempt, lines=some, page=PAGE)

    async def attempts(self, request: Request) -> Response:
        """Two of a job's attempts, the last ones if `?left=` and `?right=` name no others."""
        view = await jobs.found(self.store, request)
        async with self.store.reading() as session:
            history = await jobs.history(session, view.job)
            steps = await jobs.steps_of(session, [view.job.id])
        last = view.job.attempt
        asked = number(request, "left", max(1, last - 1)), number(request, "right", last)
        known = {one.attempt: one for one in history}
        sides = [
            (which, known.get(which), await read(self.logs, view.job.id, which, -_BESIDE, _BESIDE))
            for which in asked
        ]
        return self.pages.shown(
            request,
            "attempts",
            view=view,
            history=history,
            sides=sides,
            steps=compared(steps, *asked),
            state=waterfall.step_state,
            some=_BESIDE,
        )


async def read(logs: LogStore, job: str, attempt: int, first: int, count: int) -> Lines:
    """So many lines from line `first` on, which counts from 0, or from the end if it is negative."""
    place = await logs.place(job, attempt, first)
    kept, ended = b"", 0
    async for part in logs.read(job, attempt, place.byte):
        kept += part
        ended += part.count(b"\n")
        if ended >= count or len(kept) > _LONGEST:
            break
    clock = Clock(logs.times(job, attempt), place.line, place.byte)
    await clock.look()
    moments = dict(clock.passed(kept, place.byte + len(kept)))
    shown, at = [], None
    for line, text in enumerate(kept.removesuffix(b"\n").split(b"\n")[:count] if kept else (), place.line):
        if line in moments:
            at = datetime.fromtimestamp(moments[line] / 1000, UTC)
        shown.append(Shown(line + 1, colours.shown(text.decode(errors="replace")), at))
    return Lines(shown, place.lines)


def compared(
    steps: Sequence[StepRow], left: int, right: int
) -> list[tuple[str, StepRow | None, StepRow | None, str]]:
    """Pure: each step in both attempts, and how much longer the right one took."""
    sides = [{step.name: step for step in steps if step.attempt == which} for which in (left, right)]
    found = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (side.get(name) for side in sides)
        found.append((name, one, other, _difference(one, other)))
    return found


def _difference(one: StepRow | None, other: StepRow | None) -> str:
    if one is None or other is None or one.ended_at is None or other.ended_at is None:
        return NOTHING
    more = ((other.ended_at - other.started_at) - (one.ended_at - one.started_at)).total_seconds()
    return f"{'+' if more >= 0 else '-'}{duration(abs(more))}"
