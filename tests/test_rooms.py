"""The listing explains the program: every room says what it is for, and the linter knows all of them."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
ROOMS = [init.parent for top in ("bot", "workers") for init in sorted((ROOT / top).glob("*/__init__.py"))]


def contract(kind: str, **fields: Any) -> dict[str, Any]:
    (found,) = (one for one in CONTRACTS if one["type"] == kind and fields.items() <= one.items())
    return dict(found)


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: str(room.relative_to(ROOT)))
def test_a_room_says_what_enters_what_leaves_and_what_it_may_import(room: Path) -> None:
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    if room.name != "cli":
        assert [word for word in ("In: ", "Out: ", "Imports: ") if word not in said] == []
    assert len(said.splitlines()) <= 3


def test_all_of_workers_but_the_contract_is_kept_from_the_bot() -> None:
    names = {path.stem for path in (ROOT / "workers").iterdir() if not path.name.startswith("_")}
    forbidden = contract("forbidden", source_modules=["bot"])["forbidden_modules"]
    assert {name.removeprefix("workers.") for name in forbidden} == names - {"contract"}


@pytest.mark.parametrize("top", ["bot", "workers"])
def test_the_tests_of_a_room_are_in_a_folder_of_its_name(top: str) -> None:
    rooms = {path.name for path in (ROOT / top).iterdir() if (path / "__init__.py").exists()}
    tested = {path.name for path in (ROOT / "tests" / top).iterdir() if (path / "__init__.py").exists()}
    assert tested - rooms == set(), "a folder of tests that mirrors no room"
    assert rooms - tested == set(), "a room without a folder of tests"


def test_no_tool_leaves_a_room_out_because_of_its_name() -> None:
    """pytest and ruff pass by folders named `build` and `dist`, unless they are told what to pass by."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert (
        tools["ruff"]["exclude"] == tools["pytest"]["ini_options"]["norecursedirs"] == [".*", "node_modules"]
    )
