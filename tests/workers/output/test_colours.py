"""Of all that steers a terminal a log keeps its colours, and secrets are masked across them."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.output.cleaning import Cleaner, coloured, plain
from workers.output.masking import Masker

SECRET = "hunter2-and-more"
_COLOUR = re.compile(r"\x1b\[(?:\d{1,3};){0,15}\d{1,3}m")


def cleaned(*pieces: str) -> str:
    cleaner = Cleaner(coloured)
    return b"".join([*(cleaner.feed(piece.encode()) for piece in pieces), cleaner.end()]).decode()


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("\x1b[1;31mred\x1b[0m\n", "\x1b[1;31mred\x1b[0m\n"),
        ("\x1b[mreset\n", "\x1b[0mreset\n"),
        ("\x1b[;1mbold\n", "\x1b[0;1mbold\n"),
        ("\x1b[38;5;9mbright\x1b[48;5;2m\n", "\x1b[91mbright\x1b[42m\n"),
        ("\x1b[38;2;250;0;10mred\x1b[38:2::0:0:200mblue\n", "\x1b[91mred\x1b[34mblue\n"),
        ("\x1b[38;5;240mgrey\x1b[38;5;255mwhite\n", "\x1b[90mgrey\x1b[97mwhite\n"),
        ("\x1b[38;5;1;4mred, underlined\n", "\x1b[31;4mred, underlined\n"),
        ("\x1b[5mblinks\x1b[8mhides\x1b[10;999mfont\n", "blinkshidesfont\n"),
        ("\x1b[38;5m \x1b[38m \x1b[38;7;1mx\n", "\x1b[30m  \x1b[1mx\n"),
        ("\x1b[>4;1m\x1b[?1m\x1b[1 m\x1b[2Jx\x1b[3A\x1b[31n\n", "x\n"),
        ("\x9b31mC1\n", "C1\n"),
        ("\x1b]8;;http://x\x1b\\\x1b[4mlink\x1b[24m\x1b]8;;\x1b\\\n", "\x1b[4mlink\x1b[24m\n"),
        ("\x1b]0;\x1b[31mtitle\x07\n", "\x1b[31mtitle\n"),
        ("\x1b\x1b[31mred\x1b\n", "\x1b[31mred\n"),
        ("\x1b[3\x001mred\n", "\x1b[31mred\n"),
        ("cut \x1b[31", "cut "),
    ],
)
def test_colours_stay_and_nothing_else_that_steers_a_terminal(said: str, kept: str) -> None:
    assert cleaned(said) == kept
    assert cleaned(*said) == kept
    assert plain(kept.encode()) == plain(cleaned(said).encode())


_BITS = st.sampled_from(
    [
        "a",
        "ü",
        "\n",
        "\r",
        "\x1b",
        "\x1b[",
        "31m",
        "38;5;1",
        ";",
        ":",
        "2",
        "m",
        "\x1b]0;t",
        "\x07",
        "\0",
        "\x9b1m",
    ]
)


@given(st.lists(_BITS, max_size=40).map("".join), st.lists(st.integers(0, 80), max_size=8))
def test_of_escapes_colours_alone_survive_however_a_text_is_cut(text: str, cuts: list[int]) -> None:
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    kept = cleaned(text)

    assert cleaned(*(text[start:end] for start, end in pairwise(ends))) == kept
    assert "\x1b" not in _COLOUR.sub("", kept)


def masked(*pieces: bytes) -> bytes:
    masker = Masker([SECRET])
    return b"".join([*map(masker.feed, pieces), masker.end()])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mhunter2-and-more\x1b[0m x\n", "\x1b[31m***\x1b[0m x\n"),
        ("hun\x1b[31mter2-\x1b[0mand-more x\n", "***\x1b[31m\x1b[0m x\n"),
        ("".join(f"\x1b[3{at % 8}m{one}" for at, one in enumerate(SECRET)) + "\x1b[0m\n", None),
        ("\x1b[1mno secret\x1b[0m\n\x1b[32mnext\x1b[0m\n", "\x1b[1mno secret\x1b[0m\n\x1b[32mnext\x1b[0m\n"),
    ],
)
def test_a_secret_is_masked_whatever_colours_are_in_it(said: str, shown: str | None) -> None:
    raw = said.encode()
    found = masked(raw)

    assert masked(*(raw[at : at + 1] for at in range(len(raw)))) != raw or SECRET not in plain(raw).decode()
    assert SECRET not in plain(found).decode()
    assert shown is None or found == shown.encode()


_COLOURED = st.lists(
    st.sampled_from(
        ["h", "hunter2", "-and", "-more", SECRET, "\x1b[31m", "\x1b[0m", "\x1b[1;4m", " ", "\n", "ü"]
    ),
    max_size=40,
).map(lambda bits: "".join(bits).encode())


@given(_COLOURED, st.lists(st.integers(0, 200), max_size=6))
def test_colours_change_nothing_of_what_is_masked(text: bytes, cuts: list[int]) -> None:
    whole = [
        0,
        *sorted({text.find(b"\x1b", at) for at in cuts} - {-1}),
        len(text),
    ]  # no cut is within a colour
    told = masked(*(text[start:end] for start, end in pairwise(sorted(whole))))

    assert plain(told) == masked(plain(text))
    assert plain(masked(text)) == masked(plain(text))


def test_colours_without_a_text_take_no_room() -> None:
    masker = Masker([SECRET])
    for number in range(20_000):
        masker.feed(b"\x1b[%d;1m" % (30 + number % 8))

    assert len(masker._marks) == 1
    assert len(masker.feed(b"x\n")) < 100
