"""Lines: where jobs stand and workers take, a pool's own and one for each set of labels that jobs ask for.

Written `POOL`, or `POOL+LABEL+LABEL` with the labels in order. Neither a pool nor a label has a `+` in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Self

BETWEEN = "+"


@dataclass(frozen=True)
class Line:
    """Jobs of a pool that ask for the same labels."""

    pool: str
    labels: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> Self:
        pool, *labels = text.split(BETWEEN)
        return cls(pool, frozenset(labels))

    def __str__(self) -> str:
        return BETWEEN.join([self.pool, *sorted(self.labels)])

    def fits(self, pool: str, labels: Collection[str]) -> bool:
        """Whether a worker of this pool that has these labels takes from it."""
        return self.pool == pool and self.labels <= set(labels)

    @property
    def wanted(self) -> str:
        """Its labels, for people."""
        return " and ".join(sorted(self.labels))


def further(lines: Iterable[str], pool: str, labels: Collection[str]) -> list[str]:
    """Of these lines those that a worker takes from beside its pool's own, in order."""
    fitting = (line for line in map(Line.read, lines) if line.labels and line.fits(pool, labels))
    return sorted(map(str, fitting))


def architecture(platform: str) -> str:
    """The label for a platform such as linux/arm64/v8, of those that a worker has for its own: arm64."""
    return platform.split("/")[1]


def asked(
    runs_on: Iterable[str], platforms: Collection[str], workers: Collection[Collection[str]]
) -> frozenset[str]:
    """The labels that a job asks for, where `workers` of its pool have those labels.

    `runs_on` says some. An image for one platform asks for its architecture where some of the workers have
    that and some do not; where none has, whoever comes emulates it.
    """
    native = {architecture(platforms[0])} if len(platforms := list(platforms)) == 1 else set()
    mixed = {label for label in native if len({label in labels for labels in workers}) == 2}
    return frozenset(runs_on) | mixed
