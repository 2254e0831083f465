"""Which images go, and when a disk is full."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from config.settings import Settings
from workers.engine.engine import StoredImage
from workers.upkeep.disk import SHARES, Budgets, Disk, doomed, is_needed, problem, short

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
GB = 2**30
LABELS = {"io.blacktree.repository": "acme/shop", "io.blacktree.instance": "here"}


def image(number: int, *, age: int = 0, size: int = 10, busy: bool = False) -> StoredImage:
    """An image that was used `age` hours before noon."""
    digest = f"sha256:{number:064x}"
    return StoredImage(
        id=digest,
        references=(f"acme/shop:{number}",),
        digests=(f"acme/shop@sha256:{number:0>63}d",),
        size=size,
        labels=LABELS,
        used=NOON - timedelta(hours=age),
        busy=busy,
    )


def service(number: int, *also: str, instance: str = "here", busy: bool = False) -> StoredImage:
    """One that came for a service, hours before all others."""
    marked = (f"blacktree-pulled/{instance}:{number}", "docker.io/library/postgres:17", *also)
    return StoredImage(
        id=f"sha256:{number:064x}",
        references=marked,
        digests=(f"docker.io/library/postgres@sha256:{number:0>63}e",),
        size=10,
        labels={},
        used=NOON - timedelta(hours=9),
        busy=busy,
    )


OLD, OLDER, OLDEST = image(1, age=2), image(2, age=3), image(3, age=4)
ALL = [OLDER, OLD, OLDEST]


@pytest.mark.parametrize(
    ("images", "needed", "budget", "gone"),
    [
        (ALL, [], 30, []),
        (ALL, [], 29, [OLDEST]),
        (ALL, [], 10, [OLDEST, OLDER]),
        (ALL, [], 0, [OLDEST, OLDER, OLD]),
        ([], [], 0, []),
        # What is needed neither goes nor counts.
        (ALL, [OLDEST.id], 20, []),
        (ALL, [OLDEST.id], 10, [OLDER]),
        (ALL, [OLDEST.digests[0]], 10, [OLDER]),
        (ALL, ["elsewhere.example/shop@" + OLDEST.digests[0].partition("@")[2]], 10, [OLDER]),
        (ALL, [OLDEST.references[0]], 0, [OLDER, OLD]),
        (ALL, [one.id for one in ALL], 0, []),
        # What a container has, neither.
        ([OLD, replace(OLDEST, busy=True)], [], 0, [OLD]),
        # What services had before goes as what releases had, but for what anybody has a container or name of.
        ([OLD, service(7)], [], 10, [service(7)]),
        ([OLD, service(7, busy=True)], [], 0, [OLD]),
        ([OLD, service(7)], [service(7).digests[0]], 0, [OLD]),
        ([OLD, service(7, "mine/golden:1")], [], 0, [OLD]),
        ([OLD, service(7, instance="there")], [], 0, [OLD]),
        ([OLD, service(7, "blacktree-pulled/there:7")], [], 10, [service(7, "blacktree-pulled/there:7")]),
        # What is not this instance's is not ours to judge.
        ([OLD, replace(OLDEST, labels={})], [], 0, [OLD]),
        ([OLD, replace(OLDEST, labels=LABELS | {"io.blacktree.instance": "there"})], [], 0, [OLD]),
        # What was used in the last hour counts, but stays.
        ([OLD, image(9, age=0)], [], 10, [OLD]),
        ([OLD, image(9, age=0)], [], 0, [OLD]),
        ([image(9, age=0)], [], 0, []),
    ],
)  # fmt: skip
def test_images_that_nothing_needs_go_least_recently_used_first(
    images: list[StoredImage], needed: list[str], budget: int, gone: list[StoredImage]
) -> None:
    assert doomed(images, "here", needed, budget, settled=NOON - timedelta(hours=1)) == gone


@pytest.mark.parametrize("reference", ["", "@", "acme/shop", "sha256:", "acme/shop@"])
def test_a_reference_that_is_none_means_no_image(reference: str) -> None:
    assert not is_needed(OLD, [reference])


@pytest.mark.parametrize(
    ("free", "least", "words"),
    [
        ([7 * GB, 6 * GB], 5 * GB, ""),
        ([5 * GB], 5 * GB, ""),
        ([1 * GB, 6 * GB], 5 * GB, "1.0 GiB in /0 is free, and a job needs 5.0 GiB (DISK_FREE)"),
        ([1 * GB, 900], 5 * GB, "1.0 GiB in /0 and 900 bytes in /1 are free, and a job needs 5.0 GiB"),
        ([0], 0, ""),
    ],
)
def test_a_full_disk_is_told_with_what_to_do(free: list[int], least: int, words: str) -> None:
    places = [Disk(Path(f"/{number}"), size) for number, size in enumerate(free)]
    said = problem(short(places, least), least)
    assert words in said
    assert bool(words) == bool(said)


def test_budgets_are_the_settings_and_shrink_to_nothing() -> None:
    budgets = Budgets.of(Settings(cache_budget="8k", image_budget="4k", mirror_budget="0"))
    assert budgets == Budgets(cache=8192, images=4096, mirrors=0)
    assert [budgets.share(share).images for share in SHARES] == [4096, 2048, 1024, 512, 0]
