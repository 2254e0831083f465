"""A repository's Compose file in the place of a `.blacktree.yml`: which counts, what is read with it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from config.importing import compose
from config.importing.compose_file import NAMES
from config.importing.found import Found

__all__ = ["asked", "found", "named"]


def named(names: Collection[str]) -> str | None:
    """The Compose file among the names of a repository's top; None if there is none."""
    return next((name for name in NAMES if name in names), None)


def asked(file: str, text: str, names: Collection[str]) -> list[str]:
    """The further files to read, as far as they may be there. Raises ConfigError."""
    return [path for path in compose.asked(file, text) if path.partition("/")[0] in names]


def found(file: str, text: str, files: Mapping[str, str], names: Collection[str]) -> Found:
    """What it means. `names` are those at the repository's top. Raises ConfigError where it can't be read."""
    return compose.found(file, text, files, lambda path: path.partition("/")[0] in names)
