"""`${NAME:-default}` and `.env` files, as Compose reads them."""

from __future__ import annotations

import pytest

from config.importing.dotenv import variables
from config.importing.interpolation import Unfilled, Uninterpolated, filled, text_of

VALUES = {"NAME": "ada", "EMPTY": "", "PORT": "8080"}


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("plain", "plain"),
        ("$NAME and ${NAME}", "ada and ada"),
        ("${NAME:-x}", "ada"),
        ("${GONE:-x}", "x"),
        ("${GONE-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${EMPTY:-}", ""),
        ("${GONE:-${ALSO:-${PORT}}}/", "8080/"),
        ("${NAME:+there}", "there"),
        ("${EMPTY:+there}${EMPTY+set}${GONE+set}", "set"),
        ("${NAME:?must be set}", "ada"),
        ("costs $$5, $${NAME}", "costs $5, ${NAME}"),
        ("${GONE:-a:-b}", "a:-b"),
    ],
)
def test_a_variable_has_its_value_or_what_is_written_for_it(text: str, meant: str) -> None:
    assert text_of(filled(text, VALUES)) == meant


def test_what_has_no_value_anywhere_stays_with_what_the_file_says_about_it() -> None:
    text = text_of(filled("postgres://{$USER:${PASSWORD:?make one}@db", {"USER": "ada"}))

    assert isinstance(text, Unfilled)
    assert [(one.name, one.told) for one in text.missing] == [("PASSWORD", "make one")]
    assert text.template == "postgres://{{ada:{PASSWORD}@db", "braces of its own are no places"
    assert text.whole is None


@pytest.mark.parametrize(
    "text", ["${", "${NAME", "$1", "5$", "${NAME!}", "${A:-" * 20 + "}" * 20, "${NAME:-${}}"]
)
def test_what_is_no_variable_is_told(text: str) -> None:
    with pytest.raises(Uninterpolated):
        filled(text, {})


def test_a_value_that_others_multiply_is_bounded() -> None:
    with pytest.raises(Uninterpolated, match="longer"):
        filled("$A" * 1000, {"A": "x" * 100})


def test_an_env_file_has_quotes_comments_exports_and_references() -> None:
    text = """
# a comment
PLAIN=one two  # and more
export EXPORTED=yes
SINGLE='as $PLAIN is'
DOUBLE="a\\n$KNOWN and ${PLAIN}"
EMPTY=
WINDOWS=line\r
UNKNOWN=${NOBODY}
not a line
"""
    assert variables(text, {"KNOWN": "k"}) == {
        "PLAIN": "one two",
        "EXPORTED": "yes",
        "SINGLE": "as $PLAIN is",
        "DOUBLE": "a\nk and one two",
        "EMPTY": "",
        "WINDOWS": "line",
        "UNKNOWN": "",
    }
