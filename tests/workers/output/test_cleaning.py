"""What a program says to a terminal, as text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.output.cleaning import LONGEST, Cleaner


def cleaned(*pieces: str) -> str:
    cleaner = Cleaner()
    return b"".join([*(cleaner.feed(piece.encode()) for piece in pieces), cleaner.end()]).decode()


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("plain ünïcode 🚀\ttabs\n\n", "plain ünïcode 🚀\ttabs\n\n"),
        ("windows\r\nlines\r\r\n", "windows\nlines\n"),
        (" 10%\r 20%\r100%\nnext\n", "100%\nnext\n"),
        ("10%\r20%\r\n", "20%\n"),
        ("10%\r20%\r", "20%"),
        ("\r\rx\n", "x\n"),
        ("\x1b[1;31mred\x1b[0m \x1b[38;5;9mtoo\x1b[m\n", "red too\n"),
        ("\x1b[2J\x1b[H\x1b[?25lup\x1b[3A\x1b[2K\x1b7\x1b8\x1bM\x1b(B\n", "up\n"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", "alink\n"),
        ("\x1bPq#0;2;0;0;0\x1b\\six\x9b31mel\u0085\n", "sixel\n"),
        ("never ended \x1b]0;title\nnext\n", "never ended \nnext\n"),
        ("cut \x1b[31", "cut "),
        ("n\0u\0l\0 \x07\x08bell\x7f\x0b\x0c\n", "nul bell\n"),
        ("soft\xadhyphen\xa0«»\n", "soft\xadhyphen\xa0«»\n"),
    ],
)
def test_text_stays_and_what_steers_a_terminal_goes(said: str, seen: str) -> None:
    assert cleaned(said) == seen
    assert cleaned(*said) == seen


_BITS = st.sampled_from(
    [
        "a",
        "ü",
        "\n",
        "\r",
        "\r\n",
        "\x1b",
        "\x1b[",
        "31m",
        "\x1b]0;t",
        "\x07",
        "\x1b\\",
        "\0",
        "\x9b1m",
        "(",
        "🚀",
    ]
)


@given(st.lists(_BITS, max_size=30).map("".join), st.lists(st.integers(0, 60), max_size=8))
def test_a_text_is_cleaned_the_same_however_it_is_cut(text: str, cuts: list[int]) -> None:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    assert cleaned(*(text[start:end] for start, end in pairwise(ends))) == cleaned(text)


def test_a_line_without_an_end_is_given_in_pieces() -> None:
    cleaner = Cleaner()
    given = [len(cleaner.feed(b"x" * 10_000)) for _ in range(70)]
    assert sum(given) + len(cleaner.end()) == 700_000
    assert max(given) < LONGEST + 20_000


def test_a_line_that_is_rewritten_for_ever_takes_no_room() -> None:
    cleaner = Cleaner()
    for percent in range(100_000):
        assert cleaner.feed(f"{percent} of 100000\r".encode()) == b""
    assert cleaner.feed(b"done\n") == b"done\n"


def test_a_control_sequence_without_an_end_takes_no_room() -> None:
    cleaner = Cleaner()
    given = sum(len(cleaner.feed(b"\x1b]0;" + b"x" * 100_000)) for _ in range(3))
    assert given + len(cleaner.end()) > 280_000
