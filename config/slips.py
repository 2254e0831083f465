"""What people are told where YAML can't be followed: libyaml's words are its own, and told to nobody."""

from __future__ import annotations

from yaml import YAMLError

_INDENT = "the indentation does not fit the lines above: indent with spaces, what belongs together alike"
_QUOTE = "a colon stands where none can: put the text into quotes, or check the indentation"
_TOLD = {
    "exceeded maximum nesting depth": "it is nested too deeply",
    "found character that cannot start any token": (
        "a tab, or one of @ ` % that YAML keeps for itself: indent with spaces, put the text into quotes"
    ),
    "found a tab character": "a tab indents here: indent with spaces",
    "mapping values are not allowed": _QUOTE,
    "found unexpected ':'": _QUOTE,
    "could not find expected ':'": "a key without its colon: write KEY: VALUE",
    "block sequence entries are not allowed": _INDENT,
    "mapping keys are not allowed": _INDENT,
    "did not find expected key": _INDENT,
    "did not find expected '-' indicator": _INDENT,
    "did not find expected ',' or": "a [ or { is not closed, or a comma is missing",
    "did not find expected node content": "a value is missing, or there is a bracket too many",
    "found unexpected end of stream": "a quote is not closed",
    "found unexpected document indicator": "a quote is not closed",
    "found unknown escape character": (
        "there is no such escape between double quotes: use single quotes, or write \\\\ for a backslash"
    ),
    "control characters are not allowed": "a control character: remove it",
    "did not find expected alphabetic or numeric character": (
        "& and * begin an anchor's name: put the text into quotes"
    ),
    "did not find expected comment or line break": "| and > end their line: begin the text in the next one",
}
_UNCLOSED = ("found unexpected end of stream", "found unexpected document", "did not find expected ',' or")


def is_unclosed(error: YAMLError) -> bool:
    """Whether a quote or bracket that is not closed made the parser stumble, further down."""
    return str(getattr(error, "problem", None)).startswith(_UNCLOSED)


def told(error: YAMLError) -> str:
    """One sentence for what the parser stumbled over."""
    said = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "")
    known = (sentence for begin, sentence in _TOLD.items() if said.startswith(begin))
    return next(known, "it can't be read here: check the quotes, brackets and indentation")
