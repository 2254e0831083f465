"""Pure: which of the jobs that stand in line a worker gets, by what it has of their repositories.

Whoever did one of a repository's last builds has its mirror and layers, one of its last deploys its image:
it is warm. An offer says that a job is next, and a worker that took one may get another of the same line
instead, for which it is warm. What is passed over so is that for a moment and no longer, and for nothing that
matters less.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

PATIENCE = 2.0  # seconds for which a job may be passed over
WARM = 8  # workers that count as warm for a repository, the last ones
LOOK = 32  # jobs in line that are looked at: so far ahead of its turn a job may go


@dataclass(frozen=True)
class Candidate:
    """A job that a worker could get, and the workers that are warm for it."""

    job: str
    rank: int
    warm: Collection[str]


def chosen(first: Candidate, others: Sequence[Candidate], worker: str, passed: float) -> str:
    """The job that `worker` is to get, which took the offer of the `first`; `others` in their order.

    `passed`: seconds since the first one was passed over first; 0 if it never was.
    """
    if worker in first.warm or passed > PATIENCE:
        return first.job
    warm = (one.job for one in others if worker in one.warm and one.rank <= first.rank)
    return next(warm, first.job)


def after(warm: Sequence[str], worker: str) -> list[str]:
    """Who is warm, the last one first, when `worker` has got a job."""
    return [worker, *(one for one in warm if one != worker)][:WARM]
