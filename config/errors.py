"""What people are told when something that they wrote does not fit."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import ValidationError


class ConfigError(Exception):
    """A setting or a file that cannot be used; its text says what, where and what to do."""


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?` with the closest of `known`, or nothing where none is close."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def sentences(error: ValidationError) -> list[tuple[tuple[str | int, ...], str]]:
    """Each of pydantic's complaints as (where, sentence), without the value, which may be a secret."""
    return [
        (item["loc"], item["msg"].removeprefix("Value error, ").rstrip("."))
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
