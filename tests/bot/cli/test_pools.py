"""`blacktree pools`, as somebody runs it where the bot runs."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from bot.cli import app


def printed(folder: Path, **settings: str) -> str:
    upper = {f"BLACKTREE_{name.upper()}": value for name, value in settings.items()}
    known = {"BLACKTREE_DATA_DIR": str(folder), "COLUMNS": "160"}
    result = CliRunner().invoke(app, ["pools"], env={**known, **upper})
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_a_pool_is_shown_with_what_it_wants_and_why(tmp_path: Path) -> None:
    settings = {"queue_url": "amqp://rabbit.test/", "registry": "ghcr.io/acme"}

    shown = printed(tmp_path, pools="builders: processes min=1 max=4", **settings)

    assert "builders 1 0 0 0 0/0 0 nothing waits or runs; 1 is the least; 1 more to start" in shown


def test_where_there_is_no_pool_that_is_said(tmp_path: Path) -> None:
    assert "there is no pool yet" in printed(tmp_path)
