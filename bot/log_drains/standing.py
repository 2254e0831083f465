"""How each drain does, for whoever asks: what is written down of it, and what still waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import col, select

from bot.log_drains.wanted import Key, Wanted
from bot.store.database import Store
from bot.store.outputs import Outputs
from bot.store.tables import LogDrainRow


@dataclass(frozen=True)
class Standing:
    """One drain of one environment's lines, and how it does."""

    key: Key
    wanted: Wanted
    row: LogDrainRow | None = None  # none before it was given anything
    behind: int = 0  # bytes of lines, as they are kept, that it has not
    waiting_since: datetime | None = None  # when the oldest of these was printed

    @property
    def problem(self) -> str:
        """Why it takes nothing, for people."""
        return self.wanted.problem or (self.row.problem if self.row else "")


async def standings(store: Store, outputs: Outputs, drains: Mapping[Key, Wanted]) -> Sequence[Standing]:
    """How these do, in their order."""
    theirs = col(LogDrainRow.environment_id).in_({environment for environment, _ in drains})
    async with store.reading() as session:
        rows = (await session.exec(select(LogDrainRow).where(theirs))).all()
    known = {(row.environment_id, row.scope): row for row in rows}
    return [await _standing(outputs, key, one, known.get(key)) for key, one in drains.items()]


async def _standing(outputs: Outputs, key: Key, one: Wanted, row: LogDrainRow | None) -> Standing:
    end = await outputs.end(key[0])
    if row is None or row.place >= end:  # beyond the end is a stream that was lost: another one begins
        return Standing(key, one, row)
    lines, _ = await outputs.read(key[0], row.place)
    since = datetime.fromtimestamp(lines[0].said.at / 1e9, UTC) if lines else None
    return Standing(key, one, row, end - row.place, since)
