"""A program that knows the API by its description alone finds nothing in it that is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bot.web.api.fuzz import fuzz
from tests.github import GitHub


@pytest.mark.timeout(600)  # a loaded machine; a quiet one needs some seconds
async def test_the_description_holds_for_whatever_is_asked(tmp_path: Path, github: GitHub) -> None:
    (tmp_path / "bot").mkdir()
    status, printed = await fuzz(
        tmp_path / "bot",
        github,
        "--phases",
        "coverage,fuzzing",
        "--max-examples",
        "2",
        "--seed",
        "1",
        "--no-shrink",
    )
    assert status == 0, printed
