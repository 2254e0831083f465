"""`blacktree token`, as somebody runs it where the bot runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sqlmodel import select
from typer.testing import CliRunner

from bot.cli import app
from bot.secrets.tokens import Tokens, formed
from bot.store.database import Store
from bot.store.tables import AuditRow, Repository, TokenRow

SHOP = "acme/shop"


def run(folder: Path, *command: str, ends: int = 0) -> str:
    env = {"BLACKTREE_DATA_DIR": str(folder), "COLUMNS": "200", "XDG_CONFIG_HOME": str(folder)}
    result = CliRunner().invoke(app, ["token", *command], env=env)
    assert result.exit_code == ends, result.output
    return " ".join(result.output.split())


def in_store(folder: Path, *rows: Repository, token: str = "") -> tuple[TokenRow | None, list[AuditRow]]:
    """Put rows there; what is known of a token, and what was written down."""

    async def looked() -> tuple[TokenRow | None, list[AuditRow]]:
        async with Store.opened(f"sqlite:///{folder / 'blacktree.db'}") as store:
            async with store.transaction() as session:
                session.add_all(rows)
            known = await Tokens(store).known(token, "192.0.2.7")
            async with store.reading() as session:
                return known, list((await session.exec(select(AuditRow))).all())

    return asyncio.run(looked())


def test_a_programs_token_is_made_listed_and_revoked(tmp_path: Path) -> None:
    in_store(tmp_path, Repository(id=7, full_name=SHOP, default_branch="main"))

    token = run(tmp_path, "make", "ci", "--scope", "deploy", "--repository", SHOP, "--days", "30")
    assert formed(token)
    known, _ = in_store(tmp_path, token=token)
    assert known
    assert (known.name, known.scope, known.repositories, known.login) == ("ci", "deploy", [7], "")
    listed = run(tmp_path, "list")
    assert f"ci a program deploy {SHOP}" in listed
    assert "192.0.2.7" in listed
    assert run(tmp_path, "revoke", "1") == "ci is revoked"
    assert run(tmp_path, "revoke", "1", ends=1) == "there is no token 1"

    known, audited = in_store(tmp_path, token=token)
    assert known is None
    assert [(row.what, row.how) for row in audited] == [
        ("made the token ci (deploy)", "the command line"),
        ("revoked the token ci", "the command line"),
    ]
    assert token not in str(audited)


def test_what_makes_no_token_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "make", "ci", "--scope", "root", ends=1)
    run(tmp_path, "make", "c i", ends=1)
    run(tmp_path, "make", "ci", "--repository", "acme/none", ends=1)
    run(tmp_path, "make", "ci", "--days", "999", ends=2)
    assert "no tokens but the API's own" in run(tmp_path, "list")


def test_without_a_command_it_prints_the_apis_own_token(tmp_path: Path) -> None:
    (tmp_path / "api.token").write_text("known\n")

    assert run(tmp_path) == "known"
