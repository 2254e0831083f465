"""Pure: how fast and how safely a repository gets live, as figures that are drawn and told.

The four of deploys are DORA's (https://dora.dev/guides/dora-metrics/): how often, how many fail, how long
from a push to it being live, how long until it is well again after a deploy that failed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from bot.store.tables import JobState
from bot.web.pages.render import duration, size

WEEKS = 12
WIDTH, HEIGHT = 240, 60
_GAP = 2
_LEAST = 1.5  # of a bar that one still sees


@dataclass(frozen=True)
class Built:
    """A build that has ended."""

    job: str
    image: str
    well: bool
    began: datetime
    ended: datetime
    size: int | None = None  # bytes, where it made an image
    reused: bool = False


@dataclass(frozen=True)
class Deployed:
    """A deploy that has ended, of an environment with a name of its own. `pushed` is when its push came."""

    environment: str
    state: JobState
    ended: datetime
    live: datetime | None = None
    pushed: datetime | None = None

    @property
    def lives(self) -> datetime:
        return self.live or self.ended


@dataclass(frozen=True)
class Bar:
    """A number with its name. None: there was nothing to count."""

    name: str
    value: float | None
    told: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars from the oldest to the newest, and what they say together."""

    title: str
    of: str  # what each bar is of
    says: str
    bars: Sequence[Bar]


def charts(builds: Sequence[Built], deploys: Sequence[Deployed], at: datetime) -> list[Chart]:
    """`builds` the newest ones, the oldest first; `deploys` those of the last WEEKS, likewise."""
    made = [one for one in builds if one.well and not one.reused]
    times = [(_day(one.ended), (one.ended - one.began).total_seconds()) for one in made]
    sizes = [(f"{one.image}, {_day(one.ended)}", float(one.size)) for one in made if one.size is not None]
    ended = [one for one in deploys if one.state is not JobState.CANCELLED]
    well = [one for one in ended if one.state is JobState.SUCCEEDED]
    failed = [(one.ended, float(one.state is JobState.FAILED)) for one in ended]
    lead = [(one.lives, _seconds(one.pushed, one.lives)) for one in well if one.pushed is not None]
    mended = recoveries(ended)
    return [
        chart("Build time", "build", times, duration, lambda all_: f"{duration(median(all_))} in the middle"),
        chart("Image size", "build", sizes, _size, lambda all_: f"{_size(all_[-1])} now"),
        chart(
            "Deploys",
            "week",
            _weekly([(one.ended, 1.0) for one in well], at, sum),
            lambda count: f"{count:.0f}",
            lambda _: f"{len(well) / WEEKS:.1f} a week",
        ),
        chart(
            "Failure rate",
            "week",
            _weekly(failed, at, _mean),
            _percent,
            lambda _: f"{_percent(_mean([one for _, one in failed]))} of {len(failed)} deploys",
        ),
        chart(
            "Lead time",
            "week",
            _weekly(lead, at, median),
            duration,
            lambda _: f"{duration(median(one for _, one in lead))} from push to live, in the middle",
        ),
        chart(
            "Time to recovery",
            "week",
            _weekly(mended, at, median),
            duration,
            lambda _: f"{duration(median(one for _, one in mended))} in the middle",
        ),
    ]


def recoveries(deploys: Iterable[Deployed]) -> list[tuple[datetime, float]]:
    """When each environment was well again after deploys that failed, and seconds since the first one."""
    since: dict[str, datetime] = {}
    found = []
    for one in sorted(deploys, key=lambda one: one.ended):
        if one.state is JobState.FAILED:
            since.setdefault(one.environment, one.ended)
        elif one.state is JobState.SUCCEEDED and (fell := since.pop(one.environment, None)) is not None:
            found.append((one.ended, _seconds(fell, one.lives)))
    return found


def chart(
    title: str,
    of: str,
    values: Sequence[tuple[str, float | None]],
    told: Callable[[float], str],
    together: Callable[[list[float]], str],
) -> Chart:
    """`told` says one value, `together` all that there are."""
    there = [value for _, value in values if value is not None]
    most = max(there, default=0.0) or 1.0
    step = WIDTH / max(len(values), 8)
    bars = []
    for number, (name, value) in enumerate(values):
        height = 0.0 if value is None else max(_LEAST, value / most * HEIGHT)
        says = "none" if value is None else told(value)
        x, y = round(number * step, 1), round(HEIGHT - height, 1)
        bars.append(Bar(name, value, says, x, y, round(step - _GAP, 1), round(height, 1)))
    return Chart(title, of, together(there) if there else "nothing yet", bars if there else [])


def _weekly(
    values: Iterable[tuple[datetime, float]], at: datetime, together: Callable[[list[float]], float]
) -> list[tuple[str, float | None]]:
    """By the weeks that end `at` and before, the oldest first."""
    weeks: defaultdict[int, list[float]] = defaultdict(list)
    for when, value in values:
        weeks[(at - when) // timedelta(weeks=1)].append(value)
    return [
        (_day(at - timedelta(weeks=back + 1)), together(weeks[back]) if weeks[back] else None)
        for back in reversed(range(WEEKS))
    ]


def _seconds(start: datetime, end: datetime) -> float:
    return max(0.0, (end - start).total_seconds())


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _day(at: datetime) -> str:
    return at.strftime("%Y-%m-%d")


def _size(value: float) -> str:
    return size(int(value))


def _percent(value: float) -> str:
    return f"{value:.0%}"
