"""What `make apps` proves is at least understood: its whole takes minutes, and images to be pulled."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.repository import parse
from tests.apps.app import load

PROJECTS = sorted(file.parent for file in Path(__file__).with_name("projects").glob("*/app.py"))


def test_there_are_projects_of_different_kinds() -> None:
    assert len(PROJECTS) >= 3


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_a_projects_environments_are_understood(folder: Path) -> None:
    app = load(folder)
    found = parse(app.files[".blacktree.yml"]).environments

    assert {"staging", "production", "preview"} <= found.keys()
    assert all("web" in one.processes and len(one.processes) > 1 for one in found.values())
    assert all("db" in one.services for one in found.values())
    assert app.change.old != app.change.new
