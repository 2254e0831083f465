"""What the command line says on a machine that has only one of the roles."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What only the bot's extra brings (pyproject.toml), as it is called in an import.
_BOTS = "aiosqlite alembic apscheduler gidgethub psycopg sqlalchemy sqlmodel starlette uvicorn"
_PROGRAM = "import sys; sys.modules |= dict.fromkeys({names!r}); from bot.cli import main; main()"


@pytest.mark.parametrize(
    "command",
    [
        ["workers", "list"],
        ["workers", "add", "one"],
        ["workers", "revoke", "one"],
        ["workers", "permissions"],
        ["secret", "list", "acme/shop"],
        ["secret", "set", "acme/shop", "KEY"],
        ["hook", "install", "acme/shop"],
        ["serve"],
        ["up"],
    ],
    ids=" ".join,
)
def test_a_machine_that_only_works_says_what_to_install_for_a_bots_command(command: list[str]) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(names=_BOTS.split()), *command]
    done = subprocess.run(program, input="value", capture_output=True, text=True, check=False)

    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "blacktree: this machine has no bot installed: do this where there is one, or install what is in "
        "requirements-bot.lock here too\n"
    )
