"""What the engine says that a container printed and used, from its answers."""

from __future__ import annotations

from typing import Any

import pytest

from workers.engine.printed import PrintedLine, read
from workers.engine.used import Used
from workers.engine.used import read as read_used

SECOND = 1_764_319_418 * 1_000_000_000  # 2025-11-28T08:43:38Z


def piece(text: bytes, nanoseconds: int = 5, stream: int = 1) -> bytes:
    whole = b"2025-11-28T08:43:38.%09dZ %s" % (nanoseconds, text)
    return bytes([stream, 0, 0, 0]) + len(whole).to_bytes(4, "big") + whole


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (b"", []),
        (piece(b"out\n") + piece(b"err\r\n", 7, 2), [(5, "out"), (7, "err")]),
        (piece(b"\n"), [(5, "")]),
        (piece(b"no end"), [(5, "no end")]),
        (piece(b"x" * 16384) + piece(b"y\n"), [(5, "x" * 16384 + "y")]),
        (piece(b"x" * 16384), []),
        (piece(b"x" * 16384) + piece(b"another\n", 6), [(6, "another")]),
        (
            piece(b"x" * 16384) + piece(b"err\n", 6, 2) + piece(b"y\n"),
            [(6, "err"), (5, "x" * 16384 + "y")],
        ),
        (piece(b"x" * 16384) * 32, [(5, "x" * 16384 * 32)]),
        (piece("é".encode()[:1] + b"\n"), [(5, "\N{REPLACEMENT CHARACTER}")]),
        (piece(b"whole\n") + piece(b"cut off\n", 6)[:-3], [(5, "whole")]),
        (piece(b"whole\n") + piece(b"cut off\n", 6)[:5], [(5, "whole")]),
    ],
)
def test_an_answer_is_read_in_whole_lines_with_their_times(
    answer: bytes, lines: list[tuple[int, str]]
) -> None:
    assert read(answer) == [PrintedLine(SECOND + at, text) for at, text in lines]


@pytest.mark.parametrize("key", ["total_inactive_file", "inactive_file"])
def test_memory_is_counted_without_what_the_kernel_gives_back(key: str) -> None:
    told: dict[str, Any] = {
        "cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}},
        "memory_stats": {"usage": 1000, "limit": 4000, "stats": {key: 300}},
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}, "eth1": {"rx_bytes": 10, "tx_bytes": 20}},
    }
    assert read_used(told) == Used(2.5, 700, 4000, 11, 22)
    assert read_used({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}}) is None
