"""Folders that are made to exhaust or to mislead whoever looks at them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.recipes import folder
from config.recipes.folder import Folder, look
from config.recipes.table import recipe

PYTHON = {"main.py": "", "requirements.txt": ""}
NODE = '{"scripts": {"start": "x"}}'
# What takes time that grows with the square of this takes minutes.
LONG = 200_000


def title(files: dict[str, str]) -> str:
    return recipe(Folder(frozenset(files), files)).title


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"main.py": "", "requirements.txt": "\n" * LONG + "x"}, "Python 3.13 with pip"),
        ({**PYTHON, "runtime.txt": "3.12" + "\n" * LONG + "x"}, "Python 3.12 with pip"),
        ({**PYTHON, "pyproject.toml": "a." * (LONG // 2) + "a=1"}, "Python 3.13 with pip"),
        ({**PYTHON, "Procfile": "web: x\n" + " \n" * (LONG // 2)}, "Python 3.13 with pip"),
        ({"Gemfile": "\n" * LONG, "Gemfile.lock": "", "config/application.rb": ""}, "Ruby 3.4, Rails"),
        ({"package.json": NODE, ".nvmrc": "20" + " " * LONG + "x"}, "Node 20 with npm"),
    ],
)
def test_long_files_take_no_time(files: dict[str, str], told: str) -> None:
    begun = time.process_time()
    assert title(files) == told
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    "files",
    [
        {**PYTHON, ".python-version": "9" * 5000},
        {"go.mod": f"go {'9' * 5000}.1", "main.go": "package main\nfunc main() {}"},
        {"pom.xml": f"<java.version>{'9' * 5000}"},
        {"composer.json": json.dumps({"require": {"php": "9" * 5000}}), "index.php": ""},
    ],
)
def test_a_version_that_is_none_stops_nobody(files: dict[str, str]) -> None:
    assert len(title(files)) < 200


def test_a_package_manager_that_nobody_knows_is_not_repeated() -> None:
    package = json.dumps({"packageManager": "x\nRUN evil@1", "scripts": {"start": "x"}})
    with pytest.raises(ConfigError, match="is none of npm, pnpm and yarn"):
        title({"package.json": package})


def test_no_more_is_read_than_a_worker_has_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_MOST_TEXTS", 1000)
    for number in range(10):
        (tmp_path / f"{number}.go").write_text("x" * 400)
    found = look(tmp_path)
    assert (len(found.paths), len(found.texts)) == (10, 3)
