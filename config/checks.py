"""What `blacktree doctor` says of one outside part."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A part that was looked at: what was found and, where that will not do, what to do."""

    part: str
    ok: bool
    found: str
    todo: str = ""
