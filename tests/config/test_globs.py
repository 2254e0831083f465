"""Which paths and names a pattern fits."""

from __future__ import annotations

import pytest

from config.globs import glob


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
