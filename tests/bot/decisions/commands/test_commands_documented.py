"""`/help` and docs/commands.md say what the table says."""

from __future__ import annotations

from pathlib import Path

from bot.decisions.commands.table import COMMANDS, documentation, overview

GUIDE = Path(__file__).parents[4] / "docs" / "commands.md"


def test_the_guide_holds_the_table_of_commands() -> None:
    assert documentation() in GUIDE.read_text(), "`documentation()` goes between the marks"


def test_help_names_every_command_with_who_may_use_it() -> None:
    for definition in COMMANDS.values():
        assert f"{definition.form} - {definition.summary} ({definition.permission})" in overview()
