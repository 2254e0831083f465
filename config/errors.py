"""What people are told when something that they wrote does not fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_MOST_WORD = 64  # characters: no name of ours is longer, and comparing takes time
UNKNOWN_KEY = "there is no such key."
_NUMBER = "must be a number"
_WHOLE = "must be a whole number"
_SWITCH = "must be true or false"
_KEYS = "must be a mapping: keys with their values"
# https://docs.pydantic.dev/latest/errors/validation_errors: its kinds of errors, in our words.
_TOLD = {
    "missing": "is missing: write it",
    "extra_forbidden": UNKNOWN_KEY,
    "string_type": "must be a text",
    "string_sub_type": "must be a text",
    "string_unicode": "must be a text in UTF-8",
    "string_pattern_mismatch": "has characters that can't be there, or too many",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": f"{_NUMBER}, and not endless",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "list_type": "must be a list",
    "dict_type": _KEYS,
    "model_type": _KEYS,
    "model_attributes_type": _KEYS,
    "path_type": "must be a path",
    "too_short": "must have at least one entry",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "value_error": "{error}",
    "misfit": "{told}",
}


class ConfigError(Exception):
    """A setting or a file that cannot be used; its text says what, where and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the closest of `known`, or nothing where none is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6) if len(word) <= _MOST_WORD else []
    return f" Did you mean {close[0]}?" if close else ""


def sentences(error: ValidationError, most: int | None = None) -> list[tuple[tuple[str | int, ...], str]]:
    """Complaints, `most` at most, as (where, sentence), without the value, which may be a secret."""
    return [(item["loc"], _sentence(item)) for item in islice(error.errors(include_url=False), most)]


def _sentence(item: Mapping[str, Any]) -> str:
    kind = item["type"]
    if item["input"] is None and kind not in ("misfit", "value_error", "missing"):
        return "has no value: write one, or leave the key out"
    return _TOLD.get(kind, "does not fit here").format(**item.get("ctx", {}))
