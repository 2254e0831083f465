"""`blacktree token`: the API's own token, and those of people and programs, which may less.

They are listed and revoked at the bot that one is signed in to; where the bot runs, without a login, too.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from bot.cli.remote import logins, signing
from bot.cli.remote.asking import Bot
from bot.cli.remote.options import Json, Url
from bot.cli.store import done
from config.errors import ConfigError
from config.settings import Settings
from config.sources import load

if TYPE_CHECKING:
    from bot.secrets.vault import Vault
    from bot.store.database import Store

app = typer.Typer(help="Tokens of the API.")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_SCOPES = ("read", "deploy", "admin")
_MOST_DIGITS = 9

File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]
Here = Annotated[bool, typer.Option("--here", help="of the bot on this machine, though you are signed in")]


@app.callback(invoke_without_command=True)
def token(context: typer.Context, config: File = None) -> None:
    """Without a command: print the API's token, what is set, or what the bot here made at its start."""
    from bot.secrets import api_token

    if context.invoked_subcommand is None:
        typer.echo(api_token.found(load(file=config)))


@app.command()
def make(
    name: Annotated[str, typer.Argument(help="what the program is known by: the actor of what it orders")],
    scope: Annotated[str, typer.Option(help="the most that it may: read, deploy or admin")] = "read",
    repository: Annotated[
        list[str] | None, typer.Option(metavar="OWNER/REPO", help="only for this one; may be given again")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="that it lasts")] = 90,
    config: File = None,
) -> None:
    """Make a program's token where the bot runs, and print it, this once. People make theirs at /tokens."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r}: must be letters, digits and . _ @ -, 64 at most")
    if scope not in _SCOPES:
        raise ConfigError(f"--scope: must be one of {', '.join(_SCOPES)}")

    async def act(_settings: Settings, store: Store, _vault: Vault) -> str:
        from bot.secrets.tokens import Tokens
        from bot.store import audit
        from bot.store.tables import TokenRow
        from workers.contract.messages import now

        row = TokenRow(
            mark="",
            name=name,
            scope=scope,
            repositories=await _numbers(store, repository or []),
            made_by=audit.here("").who,
            expires_at=now() + timedelta(days=days),
        )
        made = await Tokens(store).make(row)
        await audit.written(store, audit.here(f"made the token {name} ({scope})"))
        return made

    typer.echo(done(config, act))


@app.command("list")
def list_(url: Url = None, here: Here = False, json: Json = False, config: File = None) -> None:
    """What lets somebody in to the bot that you are signed in to, or to the one on this machine."""
    if (bot := _elsewhere(url, here or config is not None)) is not None:
        return signing.listed(bot, json)
    if json:
        raise ConfigError("--json: only of a bot that you are signed in to")

    async def act(_settings: Settings, store: Store, _vault: Vault) -> Table | str:
        from bot.secrets.tokens import Tokens

        rows = await Tokens(store).listed()
        table = Table("id", "name", "whose", "scope", "repositories", "ends", "used", box=None)
        names = await _names(store)
        for row in rows:
            only = (
                "all" if row.repositories is None else ", ".join(names.get(x, "-") for x in row.repositories)
            )
            used = f"{row.used_at:%Y-%m-%d %H:%M} UTC, {row.used_from}" if row.used_at else "never"
            ends = f"{row.expires_at:%Y-%m-%d}"
            table.add_row(str(row.id), row.name, row.login or "a program", row.scope, only, ends, used)
        return table if rows else "there are no tokens but the API's own"

    return Console().print(done(config, act))


@app.command()
def revoke(
    token: Annotated[str, typer.Argument(metavar="ID", help="as `blacktree token list` says it")],
    url: Url = None,
    here: Here = False,
    config: File = None,
) -> None:
    """End a token at once. Exits 1 if there is none."""
    if (bot := _elsewhere(url, here or config is not None)) is not None:
        return signing.revoke(bot, token)
    if not token.isdecimal() or len(token) > _MOST_DIGITS:
        raise ConfigError(f"{token!r}: must be a number, as `blacktree token list` says it")
    number = int(token)

    async def act(_settings: Settings, store: Store, _vault: Vault) -> str | None:
        from bot.secrets.tokens import Tokens
        from bot.store import audit

        if name := await Tokens(store).revoke(number):
            await audit.written(store, audit.here(f"revoked the token {name}"))
        return name

    name = done(config, act)
    typer.echo(f"{name} is revoked" if name else f"there is no token {number}")
    if name is None:
        raise typer.Exit(1)
    return None


def _elsewhere(url: str | None, here: bool) -> Bot | None:
    """The bot that is asked over HTTP, None for the one on this machine. Raises ConfigError."""
    if here and url:
        raise ConfigError("--url is of a bot elsewhere: leave --here and --config out, or it")
    return Bot.of(url) if not here and (url or logins.known()) else None


async def _names(store: Store) -> dict[int, str]:
    from sqlmodel import select

    from bot.store.tables import Repository

    async with store.reading() as session:
        return dict((await session.exec(select(Repository.id, Repository.full_name))).all())


async def _numbers(store: Store, names: list[str]) -> list[int] | None:
    """The ids of these repositories, None for no names. Raises ConfigError for one that is not known."""
    if not names:
        return None
    known = {name: number for number, name in (await _names(store)).items()}
    if missing := [name for name in names if name not in known]:
        raise ConfigError(f"{missing[0]}: this instance has not heard of it yet")
    return [known[name] for name in names]
