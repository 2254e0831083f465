"""Payloads, of which little is ever looked at: the rest of 25 MB is checked, and never becomes objects."""

from __future__ import annotations

import json
from typing import Any

import msgspec

_MOST_PART = 1024 * 1024  # bytes
# Of what is longer only these are read; a push's list of commits is not.
_LONG = {"repositories", "repositories_added", "repositories_removed"}


class Outline(msgspec.Struct):
    """What the receiver wants to know."""

    action: Any = None
    repository: Any = None


class _Installation(msgspec.Struct):
    id: Any = None


class _Installed(msgspec.Struct):
    installation: _Installation | None = None


_outline = msgspec.json.Decoder(Outline)
_installed = msgspec.json.Decoder(_Installed)
_parts = msgspec.json.Decoder(dict[str, msgspec.Raw])


def outline(text: str) -> Outline:
    """The outline of a payload, which is checked to its end. Raises ValueError or RecursionError."""
    return _outline.decode(text)


def read(text: str) -> dict[str, Any]:
    """A payload without those of its parts that are long and that nobody reads. Raises ValueError."""
    parts = ((name, memoryview(raw)) for name, raw in _parts.decode(text).items())
    return {name: json.loads(bytes(raw)) for name, raw in parts if len(raw) <= _MOST_PART or name in _LONG}


def installation(text: str) -> int | None:
    """The installation that a payload comes from; None where it has none, or is odd."""
    try:
        found = _installed.decode(text).installation
    except (ValueError, RecursionError):
        return None
    return found.id if found and type(found.id) is int else None
