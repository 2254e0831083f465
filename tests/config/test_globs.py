"""Which paths and names a pattern fits."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.globs import Globs, glob


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("main", "main", True),
        ("main", "maintenance", False),
        ("release/*", "release/1.0", True),
        ("release/*", "release/1.0/hotfix", True),
        ("release/*", "release", False),
        ("v*", "v1.2.3", True),
        ("v?.?", "v1.2", True),
        ("v?.?", "v1/2", False),
        ("*.py", "a.py", True),
        ("*.py", "web/a.py", False),
        ("**/*.py", "a.py", True),
        ("**/*.py", "web/deep/a.py", True),
        ("web", "web/index.html", True),
        ("web/", "web/index.html", True),
        ("web/**", "web/deep/index.html", True),
        ("web/**", "website/index.html", False),
        ("web/**/test", "web/test", True),
        ("web/**/test", "web/a/b/test", True),
        ("a.b", "aXb", False),
        ("**", "anything/at/all", True),
        ("[ab]", "a", False),
    ],
)
def test_a_pattern_fits(pattern: str, path: str, fits: bool) -> None:
    assert glob(pattern, path) is fits


def test_no_pattern_takes_long() -> None:
    assert not glob("**/a*" * 50 + "b", "a/" * 1000)


def slowly(tokens: list[str], path: str) -> bool:
    """The same, as one would say it."""
    if not tokens:
        return path == "" or path.startswith("/")
    first, rest = tokens[0], tokens[1:]
    if first == "**":
        without = rest[1:] if rest[:1] == ["/"] else rest
        return any(slowly(rest, path[at:]) or slowly(without, path[at:]) for at in range(len(path) + 1))
    if first == "*":
        return any(slowly(rest, path[at:]) for at in range(len(path.partition("/")[0]) + 1))
    if path == "" or (first == "?" and path[0] == "/"):
        return False
    return first in ("?", path[0]) and slowly(rest, path[1:])


patterns = st.text("ab/*?", min_size=1, max_size=7).filter(lambda pattern: "***" not in pattern)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(st.lists(patterns, max_size=3), st.text("ab/", max_size=6))
def test_many_patterns_at_once_fit_what_each_of_them_does_by_itself(many: list[str], path: str) -> None:
    each = [slowly(re.findall(r"\*\*|.", pattern.strip("/")), path) for pattern in many]

    assert Globs(many).fits(path) is any(each)
