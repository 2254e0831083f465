"""What is looked at in a folder to find out what kind of project it is: names, and a few texts."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_DEEPEST = 3
_MOST_PATHS = 5000
_MOST_TEXT = 256 * 1024  # bytes of one file
_MOST_TEXTS = 64 * _MOST_TEXT  # of all: whoever pushes has as many as they like
_MOST_DOTS = 64  # on a line, outside of quotes
_PASSED_BY = {
    "node_modules",
    "vendor",
    "target",
    "dist",
    "build",
    "_build",
    "deps",
    "venv",
    "__pycache__",
    "tests",
}
_READ = re.compile(
    r"package\.json|pyproject\.toml|requirements\.txt|setup\.(py|cfg)|runtime\.txt|Procfile|go\.mod|Cargo\.toml"
    r"|rust-toolchain(\.toml)?|Gemfile(\.lock)?|composer\.json|pom\.xml|build\.gradle(\.kts)?|global\.json|mix\.exs"
    r"|svelte\.config\.[jt]s|next\.config\.m?[jt]s|angular\.json|\.(python|node|ruby)-version|\.nvmrc|\.tool-versions"
    r"|(main|app|wsgi|asgi|server|application)\.py|.*\.(cs|fs|vb)proj|.*\.go"
)


@dataclass(frozen=True)
class Folder:
    """Paths relative to it, and the texts of files that tell something."""

    paths: frozenset[str]
    texts: Mapping[str, str]

    def __contains__(self, path: str) -> bool:
        return path in self.paths

    def first(self, *paths: str) -> str | None:
        """The first of these that is there."""
        return next((path for path in paths if path in self.paths), None)

    def text(self, path: str) -> str:
        return self.texts.get(path, "")

    def named(self, pattern: str) -> list[str]:
        """Paths that fit a regular expression, the shortest first."""
        return sorted(
            filter(re.compile(pattern).fullmatch, self.paths), key=lambda path: (path.count("/"), path)
        )

    def toml(self, path: str) -> dict[str, Any]:
        """Empty where there is none, or none that can be read."""
        text = self.text(path)
        return {} if _is_dotted(text) else _parsed(tomllib.loads, text)

    def json(self, path: str) -> dict[str, Any]:
        return _parsed(json.loads, self.text(path))


def _is_dotted(text: str) -> bool:
    """Whether a key is in it that tomllib takes hours for: its time grows with the square of the dots."""
    return any(re.sub(r'"[^"]*"|\'[^\']*\'', "", line).count(".") > _MOST_DOTS for line in text.split("\n"))


def _parsed(parse: Callable[[str], Any], text: str) -> dict[str, Any]:
    try:
        found = parse(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def look(top: Path) -> Folder:
    """Three levels deep. What a link leads out of the folder to is not read."""
    root, paths, texts, left = top.resolve(), [], {}, _MOST_TEXTS
    for here, folders, files in os.walk(root):
        at = PurePosixPath(Path(here).relative_to(root).as_posix())
        deep = len(at.parts) >= _DEEPEST - 1
        folders[:] = [] if deep else sorted(one for one in folders if one not in _PASSED_BY and one[0] != ".")
        for name in sorted(files):
            path = str(at / name)
            paths.append(path)
            if left > 0 and _READ.fullmatch(name) and (text := _text(root, root / path)) is not None:
                texts[path] = text
                left -= len(text)
        if len(paths) > _MOST_PATHS:
            break
    return Folder(frozenset(paths[:_MOST_PATHS]), texts)


def _text(root: Path, file: Path) -> str | None:
    try:
        if not file.resolve().is_relative_to(root) or not file.is_file() or file.stat().st_size > _MOST_TEXT:
            return None
        return file.read_text(encoding="utf-8-sig", errors="replace")
    except (OSError, RuntimeError):
        return None
