"""`blacktree workers`: which workers the bot believes over RabbitMQ, and their credentials."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table

from bot.cli.store import done
from config.errors import ConfigError, sentences
from config.kinds import Word
from config.settings import Settings
from workers.contract.credential import Credential

if TYPE_CHECKING:
    from bot.secrets.vault import Vault
    from bot.store.database import Store

app = typer.Typer(help="Workers over RabbitMQ, and what they are known by.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]
Pool = Annotated[str, typer.Option("--pool", "-p", help="whose jobs it may do, and no other's")]
Output = Annotated[Path | None, typer.Option("--file", help="write it there, for its owner alone")]
Replace = Annotated[bool, typer.Option("--replace", help="end the credential that it has")]
Once = Annotated[bool, typer.Option("--once", help="do nothing where --file has one that holds")]
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


@app.command()
def add(
    name: Name,
    pool: Pool = "default",
    file: Output = None,
    replace: Replace = False,
    once: Once = False,
    config: File = None,
) -> None:
    """Make a worker's credential, and print it: it is shown this once. Set it as WORKER_CREDENTIAL there."""
    _checked("NAME", name)
    _checked("--pool", pool)
    if once and file is None:
        raise ConfigError("--once: say with --file where the credential is kept")

    async def act(_: Settings, store: Store, vault: Vault) -> Credential | None:
        from bot.fleet import enrolment
        from bot.store import audit

        if once:
            held = _held(file)
            same = held is not None and (held.name, held.pool) == (name, pool)
            if held is not None and same and await enrolment.holds(store, held):
                return None
            await enrolment.refuse_revoked(store, name)
        credential = await enrolment.add(store, vault, name, pool, replace=replace or once)
        await audit.written(store, audit.here(f"added the worker {name}, pool {pool}"))
        return credential

    made = done(config, act)
    if made is None:
        typer.echo(f"worker {name} has its credential in {file}", err=True)
    elif file is None:
        typer.echo(made.text)
    else:
        _write(file, made.text)
        typer.echo(f"the credential of worker {name}, pool {pool}, is in {file}", err=True)


@app.command("list")
def list_(config: File = None) -> None:
    """The workers that were added, and their pools."""

    async def act(_: Settings, store: Store, _vault: Vault) -> list[tuple[str, ...]]:
        from bot.fleet import enrolment

        return [
            (row.name, row.pool, f"{row.created_at:%Y-%m-%d %H:%M} UTC", _state(row.revoked_at is not None))
            for row in await enrolment.all_of(store)
        ]

    rows = done(config, act)
    table = Table("name", "pool", "added", "", box=None)
    for row in rows:
        table.add_row(*row)
    Console().print(table if rows else "no worker was added yet: blacktree workers add NAME --pool POOL")


@app.command()
def revoke(name: Name, config: File = None) -> None:
    """Believe a worker no more: it gets no job, and what it does is done by others."""

    async def act(_: Settings, store: Store, _vault: Vault) -> int:
        from bot.fleet import enrolment
        from bot.store import audit

        jobs = await enrolment.revoke(store, name)
        await audit.written(store, audit.here(f"revoked the worker {name}"))
        return jobs

    jobs = done(config, act)
    typer.echo(f"worker {name} is revoked; jobs that it had and that others get: {jobs}")


@app.command()
def permissions(config: File = None) -> None:
    """Print what gives each worker a login of its own at RabbitMQ, which may do little there.

    For `rabbitmqctl import_definitions`, or the management API. It has no password, only hashes.
    """

    async def act(settings: Settings, store: Store, _: Vault) -> str:
        from bot.fleet import enrolment
        from bot.fleet.permissions import definitions

        path = urlsplit(settings.queue_url).path
        known = await enrolment.all_of(store)
        vhost = unquote(path[1:]) if len(path) > 1 else "/"
        return json.dumps(definitions(known, settings.queue_prefix, vhost), indent=2)

    typer.echo(done(config, act))


def _checked(option: str, value: str) -> None:
    """As WORKER_NAME and WORKER_POOL are. Raises ConfigError."""
    try:
        TypeAdapter(Word).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{option}: {value!r} {sentences(error)[0][1]}") from None


def _state(revoked: bool) -> str:
    return "revoked" if revoked else ""


def _held(file: Path | None) -> Credential | None:
    try:
        return Credential.parse(file.read_text()) if file else None
    except (OSError, ValueError):
        return None


def _write(file: Path, text: str) -> None:
    """For its owner alone, from the first byte on. Raises ConfigError."""
    try:
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w") as output:
            output.write(text + "\n")
    except OSError as error:
        raise ConfigError(f"--file: {file} cannot be written: {error.strerror}") from None
