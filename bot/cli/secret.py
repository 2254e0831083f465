"""`blacktree secret`: what a repository's builds and environments get and nobody reads."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bot.cli.store import done
from config.errors import ConfigError
from config.repository import PREVIEW
from config.settings import Settings

if TYPE_CHECKING:
    from bot.secrets.repositories import Secrets
    from bot.secrets.vault import Vault
    from bot.store.database import Store

T = TypeVar("T")

app = typer.Typer(help="Secrets of a repository's builds and environments.", no_args_is_help=True)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PLACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_MOST = 64 * 1024  # bytes of a value
_EVERYWHERE = "all but previews"

Repository = Annotated[str, typer.Argument(metavar="OWNER/REPO")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="as a variable, such as DATABASE_URL")]
Environment = Annotated[
    str | None,
    typer.Option("--environment", "-e", help="only for this one; else for all that are no preview"),
]
Preview = Annotated[bool, typer.Option("--preview", help="for previews, and the builds of pull requests")]
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


@app.command("set")
def set_(
    repository: Repository,
    name: Name,
    environment: Environment = None,
    preview: Preview = False,
    config: File = None,
) -> None:
    """Set a secret. Its value is asked for, or read from standard input; the next deploy or build has it."""
    scope = _scope(environment, preview)
    _checked(name)
    value = _value(name)
    said = f"set the secret {name} for {_shown(scope)}"
    _done(config, repository, lambda secrets, id_: secrets.set(id_, scope, name, value, _me()), said)
    typer.echo(f"{repository}: {name} is set for {_shown(scope)}")


@app.command()
def remove(
    repository: Repository,
    name: Name,
    environment: Environment = None,
    preview: Preview = False,
    config: File = None,
) -> None:
    """Forget a secret. Exits 1 if there is none."""
    scope = _scope(environment, preview)
    said = f"removed the secret {name} for {_shown(scope)}"
    if not _done(config, repository, lambda secrets, id_: secrets.remove(id_, scope, name), said):
        typer.echo(f"{repository}: there is no {name} for {_shown(scope)}")
        raise typer.Exit(1)
    typer.echo(f"{repository}: {name} is gone from {_shown(scope)}")


@app.command("list")
def list_(repository: Repository, config: File = None) -> None:
    """The names of a repository's secrets, and for what they are. Values are never shown."""
    rows = _done(config, repository, lambda secrets, id_: secrets.listed(id_))
    table = Table("name", "for", "since", "by", box=None)
    for row in rows:
        table.add_row(row.name, _shown(row.scope), f"{row.updated_at:%Y-%m-%d %H:%M} UTC", row.set_by)
    Console().print(table if rows else f"{repository} has no secrets")


def _scope(environment: str | None, preview: bool) -> str:
    if preview and environment:
        raise ConfigError("--preview and --environment: say one of them")
    if environment is None:
        return PREVIEW if preview else ""
    if not _PLACE.fullmatch(environment):
        raise ConfigError(f"--environment: {environment!r} is no environment's name")
    return environment


def _shown(scope: str) -> str:
    return {"": _EVERYWHERE, PREVIEW: "previews"}.get(scope, scope)


def _me() -> str:
    from bot.store import audit

    return audit.here("").who


def _checked(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r}: must be letters, digits and underscores, such as DATABASE_URL")


def _value(name: str) -> str:
    """Typed twice at a terminal without being shown; else standard input without its last newline."""
    if sys.stdin.isatty():
        value = str(typer.prompt(name, hide_input=True, confirmation_prompt=True))
    else:
        try:
            value = sys.stdin.buffer.read(_MOST + 2).decode().removesuffix("\n")
        except UnicodeDecodeError:
            raise ConfigError(f"{name}: its value is not UTF-8 text") from None
    if not value:
        raise ConfigError(f"{name}: its value is empty")
    if len(value.encode()) > _MOST or "\0" in value:
        raise ConfigError(f"{name}: its value must be at most {_MOST} bytes, without NUL characters")
    return value


def _done(
    file: Path | None, repository: str, act: Callable[[Secrets, int], Awaitable[T]], changes: str = ""
) -> T:
    """What `act` gives; what it `changes`, unless it gives False, is written down."""

    async def acted(settings: Settings, store: Store, vault: Vault) -> T:
        from bot.secrets.repositories import Secrets
        from bot.store import audit

        number = await _id(settings, store, vault, repository)
        given = await act(Secrets(store, vault), number)
        if changes and given is not False:
            await audit.written(store, audit.here(changes, number))
        return given

    return done(file, acted)


async def _id(settings: Settings, store: Store, vault: Vault, repository: str) -> int:
    """The repository's id: secrets follow it when it is renamed. Raises ConfigError."""
    from sqlmodel import func, select

    from bot.store.tables import Repository as Row

    named = select(Row.id).where(func.lower(Row.full_name) == repository.lower())
    async with store.reading() as session:
        known = (await session.exec(named)).first()
    return known if known is not None else await _asked(settings, vault, repository)


async def _asked(settings: Settings, vault: Vault, repository: str) -> int:
    """The id by GitHub's word, of a repository of which nothing was heard yet."""
    from bot.github.client import GitHubError
    from bot.github.forge import GitHub
    from bot.secrets.credentials import completed

    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}", repository):
        raise ConfigError(f"{repository}: give the repository as OWNER/REPO")
    try:
        async with GitHub.connected(await completed(settings, vault)) as github:
            return int((await github.repository(repository))["id"])
    except GitHubError as error:
        raise ConfigError(f"{repository}: this instance does not know it, and GitHub says: {error}") from None
