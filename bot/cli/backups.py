"""`blacktree backups`: those of environments' services; `blacktree backup` is of the bot's own store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table

from bot.cli.store import done
from config.errors import ConfigError
from config.settings import Settings

if TYPE_CHECKING:
    from sqlmodel.ext.asyncio.session import AsyncSession

    from bot.secrets.vault import Vault
    from bot.store.database import Store
    from bot.store.tables import Environment, Repository

T = TypeVar("T")

app = typer.Typer(help="Backups of environments' services.", no_args_is_help=True)

Owner = Annotated[str, typer.Argument(metavar="OWNER/REPO")]
Place = Annotated[str, typer.Argument(metavar="ENVIRONMENT")]
Service = Annotated[str | None, typer.Argument(metavar="SERVICE", help="all that say how, if left out")]
Number = Annotated[int | None, typer.Argument(metavar="BACKUP", help="its number; the last one if left out")]
Confirm = Annotated[str, typer.Option("--confirm", help="the environment's name: what it has may be lost")]
From = Annotated[str | None, typer.Option("--from", help="whose last backup; the environment's own else")]
Of = Annotated[str | None, typer.Option("--service", help="which, where an environment has several")]
Actor = Annotated[str, typer.Option("--actor", help="who wants it: counts for locks")]
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


@app.command()
def run(repository: Owner, environment: Place, service: Service = None, config: File = None) -> None:
    """Take a backup now. The worker that has the service does it."""

    async def act(session: AsyncSession, settings: Settings, owner: Repository, place: Environment) -> str:
        from bot.decisions import backups

        said, made = await backups.run(
            session, place, service, settings, actor="cli", cause="backup by hand", key=f"cli:{uuid4().hex}"
        )
        return _noted(session, owner, place, said, made)

    typer.echo(f"{repository}: {_done(config, repository, environment, act)}")


@app.command("list")
def list_(repository: Owner, environment: Place, config: File = None) -> None:
    """The backups that there are, newest first."""

    async def act(session: AsyncSession, _: Settings, owner: Repository, place: Environment) -> Table | None:
        from bot.jobs import backups

        table = Table("backup", "service", "when", "size", "dumped", "SHA-256", box=None)
        for row in await backups.of(session, owner.id, place.name):
            sizes = (f"{row.size / 1e6:.1f} MB", f"{row.dumped / 1e6:.1f} MB")
            table.add_row(
                str(row.id), row.service, f"{row.created_at:%Y-%m-%d %H:%M} UTC", *sizes, row.sha256[:12]
            )
        return table if table.row_count else None

    table = _done(config, repository, environment, act)
    Console().print(table or f"{repository} has no backups of {environment}")


@app.command()
def restore(
    repository: Owner,
    environment: Place,
    backup: Number = None,
    confirm: Confirm = "",
    source: From = None,
    service: Of = None,
    actor: Actor = "cli",
    config: File = None,
) -> None:
    """Put a backup into an environment's service. What that has now may be lost."""

    async def act(session: AsyncSession, settings: Settings, owner: Repository, place: Environment) -> str:
        from bot.decisions import backups

        row = await backups.find(session, owner, backup, source or place.name, service)
        said, made = await backups.restore(
            session, place, row, settings, confirm=confirm, actor=actor, key=f"cli:{uuid4().hex}"
        )
        return _noted(session, owner, place, said, made)

    typer.echo(f"{repository}: {_done(config, repository, environment, act)}")


def _noted(session: AsyncSession, owner: Repository, place: Environment, said: str, run: int | None) -> str:
    from bot.store import audit

    audit.note(session, audit.here(f"{place.name}: {said}", owner.id))
    return f"{said}: run {run}"


Act = Callable[["AsyncSession", Settings, "Repository", "Environment"], Awaitable[T]]


def _done(file: Path | None, repository: str, environment: str, act: Act[T]) -> T:
    """What `act` gives in one transaction. Raises ConfigError."""

    async def acted(settings: Settings, store: Store, _: Vault) -> T:
        from sqlmodel import func, select

        from bot.decisions.decision import Refused
        from bot.store.tables import Environment, Repository

        async with store.transaction() as session:
            named = select(Repository).where(func.lower(Repository.full_name) == repository.lower())
            owner = (await session.exec(named)).first()
            if owner is None:
                raise ConfigError(f"{repository}: this instance does not know it")
            here = select(Environment).where(
                Environment.repository_id == owner.id, Environment.name == environment
            )
            place = (await session.exec(here)).first()
            if place is None:
                raise ConfigError(f"{repository} has no environment {environment}")
            try:
                return await act(session, settings, owner, place)
            except Refused as refused:
                raise ConfigError(str(refused)) from None

    return done(file, acted)
