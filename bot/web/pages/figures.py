"""Pure: what containers used and how often they were asked for, as numbers and as what is drawn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.routing.visits import HOUR, begin
from bot.store.tables import UsageRow, VisitsRow
from bot.web.pages.pace import Chart, chart

WIDTH, HEIGHT = 240, 36
DAY = timedelta(days=1)
_FRESH = 180.0  # seconds after which a number is none of now any more


@dataclass(frozen=True)
class Drawn:
    """A process: what all its containers use now, and did in the last hour."""

    process: str
    containers: int
    cpu: float  # processors
    memory: int  # bytes
    limit: int  # bytes that they may have together; 0 if that is not known
    received: float  # bytes in a second
    sent: float
    cpu_line: str  # points of a polyline in a box of WIDTH and HEIGHT
    memory_line: str
    cpu_most: float
    memory_most: int


def told(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """As JSON: of each container its samples, the oldest first. Rates are by second, CPU in processors."""
    containers: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = containers.setdefault(
            row.container,
            {"name": row.container, "process": row.process, "release": row.release_id, "samples": []},
        )
        one["samples"].append(
            {
                "at": row.at.isoformat(),
                "span": row.span,
                "cpu": round(row.cpu / row.seconds, 4) if row.seconds else 0.0,
                "memory": row.memory,
                "memory_limit": row.memory_limit,
                "received": _rate(row, row.received),
                "sent": _rate(row, row.sent),
                "restarts": row.restarts,
            }
        )
    return {"containers": list(containers.values())}


def drawn(rows: Sequence[UsageRow], since: datetime, until: datetime) -> list[Drawn]:
    """A process each, by name, that used anything in that time."""
    processes: defaultdict[str, list[UsageRow]] = defaultdict(list)
    for row in rows:
        processes[row.process].append(row)
    return [_process(name, mine, since, until) for name, mine in sorted(processes.items())]


def visited(rows: Sequence[VisitsRow], until: datetime) -> Chart:
    """The day that ends then, by the hour. `rows` may be of more."""
    requests = {row.at: row.requests for row in rows}
    hours = [begin(until) - back * HOUR for back in reversed(range(DAY // HOUR))]
    values = [(f"{hour:%H:%M} UTC", float(requests.get(hour, 0))) for hour in hours]
    return chart(
        "Requests",
        "hour",
        values if any(value for _, value in values) else [],
        lambda many: f"{many:,.0f}",
        lambda many: f"{sum(many):,.0f} in a day, {many[-1]:,.0f} in this hour",
    )


def _process(name: str, rows: Sequence[UsageRow], since: datetime, until: datetime) -> Drawn:
    newest = {row.container: row for row in rows if (until - row.at).total_seconds() < _FRESH}.values()
    cpu: defaultdict[float, float] = defaultdict(float)
    memory: defaultdict[float, float] = defaultdict(float)
    for row in rows:
        place = (row.at - since) / (until - since)
        cpu[place] += row.cpu / row.seconds if row.seconds else 0.0
        memory[place] += row.memory
    return Drawn(
        process=name,
        containers=len(newest),
        cpu=sum(row.cpu / row.seconds for row in newest if row.seconds),
        memory=sum(row.memory for row in newest),
        limit=sum(row.memory_limit for row in newest),
        received=sum(_rate(row, row.received) for row in newest),
        sent=sum(_rate(row, row.sent) for row in newest),
        cpu_line=line(cpu),
        memory_line=line(memory),
        cpu_most=max(cpu.values()),
        memory_most=int(max(memory.values())),
    )


def _rate(row: UsageRow, many: int) -> float:
    return round(many / row.seconds, 1) if row.seconds else 0.0


def line(values: Mapping[float, float]) -> str:
    """Points from left (0) to right (1), the highest at the top; nothing at the bottom."""
    most = max(values.values(), default=0.0) or 1.0
    return " ".join(
        f"{place * WIDTH:.1f},{HEIGHT - 1 - value / most * (HEIGHT - 2):.1f}"
        for place, value in sorted(values.items())
    )
