"""`blacktree init`, as a newcomer uses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.cli.config import kept
from config.errors import ConfigError


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["init", *arguments])
    return result.exit_code, result.output or str(result.exception or "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "requirements.txt").write_text("flask\ngunicorn\n")
    (tmp_path / "app.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    return tmp_path


def test_a_folder_gets_what_it_needs_and_passes_the_check(folder: Path) -> None:
    code, output = run()

    assert code == 0
    assert output.splitlines() == [
        "Python 3.13 with pip, as told by requirements.txt",
        "Dockerfile is written",
        ".dockerignore is written",
        ".blacktree.yml is written",
        "Next: look at them, try `blacktree run --serve`, commit and push",
    ]
    assert (folder / "Dockerfile").read_text().startswith("# Python 3.13 with pip")
    checked = CliRunner().invoke(app, ["config", "check"])
    assert (checked.exit_code, checked.output) == (0, ".blacktree.yml is fine: 1 image, 2 environments\n")


def test_what_is_there_is_left_alone_unless_forced(folder: Path) -> None:
    (folder / "Dockerfile").write_text("mine")

    assert "Dockerfile is there already, and left alone: --force writes over it" in run()[1]
    assert (folder / "Dockerfile").read_text() == "mine"
    assert run("--force")[0] == 0
    assert (folder / "Dockerfile").read_text() != "mine"


def test_printed_nothing_is_written(folder: Path) -> None:
    code, output = run("--print")

    assert code == 0
    assert "── Dockerfile\n# Python 3.13 with pip" in output
    assert sorted(path.name for path in folder.iterdir()) == ["app.py", "requirements.txt"]


def test_beside_a_compose_file_no_file_of_ours_is_written(folder: Path) -> None:
    (folder / "compose.yaml").write_text("services: {app: {build: .}}")

    assert "compose.yaml says what runs: no .blacktree.yml is written" in run()[1]
    assert not (folder / ".blacktree.yml").exists()


def test_a_folder_that_nothing_is_known_of_is_told_what_to_do(tmp_path: Path) -> None:
    code, told = run(str(tmp_path))

    assert code == 1
    assert told.endswith("index.html: write a Dockerfile")
    assert "is no folder" in run(str(tmp_path / "gone"))[1]


def test_no_link_of_the_repository_is_written_through(folder: Path) -> None:
    mine = folder / "mine"
    mine.write_text("mine")
    (folder / "Dockerfile").symlink_to(mine)

    code, _ = run("--force")
    assert (code, mine.read_text()) == (1, "mine")
    with pytest.raises(ConfigError, match="Dockerfile is a link to elsewhere: remove it first"):
        kept(folder / "Dockerfile", "ours", force=True)
