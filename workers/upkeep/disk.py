"""Pure: whether there is room for a job, and which images go when there is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from config.fields import size_bytes
from config.settings import Settings
from workers.engine.engine import PREFIX, PULLED, StoredImage

# What is left of the budgets, step by step, while there still is not enough room.
SHARES = (1.0, 0.5, 0.25, 0.125, 0.0)


@dataclass(frozen=True)
class Disk:
    """A folder on a disk that jobs fill."""

    path: Path
    free: int  # bytes
    engine: bool = False  # whether the engine's data is there, as far as can be seen
    worker: bool = False  # whether the worker's is


@dataclass(frozen=True)
class Budgets:
    """Bytes that may be kept for the next job, beyond what is needed."""

    cache: int
    images: int
    mirrors: int

    @classmethod
    def of(cls, settings: Settings) -> Budgets:
        texts = (settings.cache_budget, settings.image_budget, settings.mirror_budget)
        return cls(*(size_bytes(text or "0") for text in texts))

    def share(self, part: float) -> Budgets:
        return Budgets(int(self.cache * part), int(self.images * part), int(self.mirrors * part))


@dataclass(frozen=True)
class Needed:
    """What the bot said last of the images that may not go."""

    instance: str  # of Blacktree: another one's images are not ours to judge
    references: frozenset[str]
    heard: float  # on the loop's clock, when it was asked


def short(places: Iterable[Disk], least: int) -> list[Disk]:
    """Those with less than `least` free bytes."""
    return [place for place in places if place.free < least]


def problem(places: Sequence[Disk], least: int) -> str:
    """Why no job is taken, and what somebody can do; empty if `places`, which are short, are none."""
    if not places:
        return ""
    found = " and ".join(f"{people(place.free)} in {place.path}" for place in places)
    return (
        f"The disk is full: {found} {'is' if len(places) == 1 else 'are'} free, and a job needs"
        f" {people(least)} (DISK_FREE). All that may go is gone: remove something else, or lower DISK_FREE"
    )


def people(size: int) -> str:
    """Bytes, for people."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"


def doomed(
    images: Iterable[StoredImage],
    instance: str,
    needed: Collection[str],
    budget: int,
    settled: datetime,
) -> list[StoredImage]:
    """The images to remove, least recently used first, until those that nothing needs fit into `budget`.

    What was used after `settled` counts, but stays: the bot may not have heard of it yet.
    """
    needless = [
        image
        for image in images
        if is_ours(image, instance) and not image.busy and not is_needed(image, needed)
    ]
    size = sum(image.size for image in needless)
    gone = []
    for image in sorted(needless, key=lambda image: image.used):
        if size <= budget or image.used > settled:
            break
        gone.append(image)
        size -= image.size
    return gone


def is_ours(image: StoredImage, instance: str) -> bool:
    """Whether an instance built it, or pulled it and nobody has given it a name since."""
    if image.labels.get(PREFIX + "instance") == instance:
        return True
    mark = f"{PULLED}/"
    if not any(reference.startswith(f"{mark}{instance.lower()}:") for reference in image.references):
        return False
    pulled = {digest.partition("@")[0] for digest in image.digests}
    names = (reference.rpartition(":")[0] for reference in image.references)
    return all(name.startswith(mark) or name in pulled for name in names)


def is_needed(image: StoredImage, needed: Collection[str]) -> bool:
    """Whether one of the references means this image, by whatever name: the digest alone decides."""
    names = {image.id, *image.references, *map(_digest, image.digests)}
    return any(reference in names or _digest(reference) in names for reference in needed)


def _digest(reference: str) -> str:
    return reference.rpartition("@")[2]
