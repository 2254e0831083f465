"""Lines: their names, who takes from which, and what a job asks of its worker."""

from __future__ import annotations

import pytest

from workers.contract.lines import Line, asked, further


@pytest.mark.parametrize(
    ("text", "pool", "labels"),
    [
        ("default", "default", set()),
        ("default+gpu", "default", {"gpu"}),
        ("a.b-c_d+arm64+gpu", "a.b-c_d", {"arm64", "gpu"}),
    ],
)
def test_a_line_is_written_as_it_is_read(text: str, pool: str, labels: set[str]) -> None:
    assert Line.read(text) == Line(pool, frozenset(labels))
    assert str(Line.read(text)) == text


def test_labels_have_one_order() -> None:
    assert str(Line("default", frozenset({"gpu", "arm64"}))) == "default+arm64+gpu"


@pytest.mark.parametrize(
    ("pool", "labels", "lines"),
    [
        ("default", ["amd64"], []),
        ("default", ["amd64", "gpu"], ["default+amd64+gpu", "default+gpu"]),
        ("default", ["arm64", "big", "gpu"], ["default+gpu"]),
        ("forks", ["amd64", "gpu"], ["forks+gpu"]),
        ("def", ["amd64", "gpu"], []),
    ],
)
def test_a_worker_takes_from_the_lines_of_its_pool_whose_labels_it_has(
    pool: str, labels: list[str], lines: list[str]
) -> None:
    there = ["default", "default+gpu", "default+amd64+gpu", "forks", "forks+gpu"]
    assert further(there, pool, labels) == lines


@pytest.mark.parametrize(
    ("runs_on", "platforms", "workers", "labels"),
    [
        ([], [], [["amd64"]], set()),
        (["gpu"], [], [["amd64"]], {"gpu"}),
        ([], ["linux/arm64"], [["amd64"]], set()),
        ([], ["linux/arm64"], [["arm64"]], set()),
        ([], ["linux/arm64"], [["amd64"], ["arm64"]], {"arm64"}),
        ([], ["linux/arm64/v8"], [["amd64"], ["arm64", "gpu"]], {"arm64"}),
        ([], ["linux/amd64", "linux/arm64"], [["amd64"], ["arm64"]], set()),
        (["gpu"], ["linux/arm64"], [["amd64"], ["arm64"]], {"arm64", "gpu"}),
        ([], ["linux/arm64"], [], set()),
    ],
)
def test_an_image_asks_for_what_it_says_and_for_its_architecture_where_that_tells_workers_apart(
    runs_on: list[str], platforms: list[str], workers: list[list[str]], labels: set[str]
) -> None:
    assert asked(runs_on, platforms, workers) == labels
