"""The console script `blacktree`. Each command imports what it needs, and only that."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Coroutine
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bot.cli import config as repository_file
from bot.cli import hook, run, secret
from config.checks import Check
from config.errors import ConfigError
from config.logging import configure
from config.settings import Settings, load
from workers.contract.queue import QueueDown

app = typer.Typer(
    help="A push becomes running containers, and GitHub is told.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(run.run)
app.add_typer(hook.app, name="hook")
app.add_typer(repository_file.app, name="config")
app.add_typer(secret.app, name="secret")
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


@app.command()
def serve(config: File = None) -> None:
    """Run the bot: receives webhooks, decides, tells GitHub. Needs RabbitMQ and workers."""
    settings = _settings(config)
    from bot.main import serve as run

    _run(run(settings))


@app.command()
def worker(config: File = None) -> None:
    """Run a worker: builds images and runs containers for the bot, over RabbitMQ."""
    settings = _settings(config)
    from workers.main import run

    _run(run(settings))


@app.command()
def up(config: File = None) -> None:
    """Run bot and worker in one process: one machine, SQLite, no broker."""
    settings = _settings(config)
    from bot.main import up as run

    _run(run(settings))


@app.command()
def doctor(config: File = None) -> None:
    """Check each outside part, and say what to do about those that fail. Exits 1 if one does."""
    settings = _settings(config, quiet=True)
    console = Console()
    if not asyncio.run(_checked(settings, console)):
        raise typer.Exit(1)


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(f"blacktree {installed('blacktree')}")


def main() -> None:
    """Run the command line; a fault of the user's is told in plain words and exits with 2."""
    try:
        app()
    except* (ConfigError, QueueDown) as errors:
        for error in _leaves(errors):
            Console(stderr=True).print(f"blacktree: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2)


def _settings(file: Path | None, quiet: bool = False) -> Settings:
    settings = load(file=file)
    configure(settings.log_format, quiet)
    return settings


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def _checked(settings: Settings, console: Console) -> bool:
    """Print every check of the roles that are installed here; whether all are well."""
    well = True
    for module, marker in (("workers.doctor", "docker"), ("bot.doctor", "sqlmodel")):
        if importlib.util.find_spec(marker) is None:
            console.print(f"[dim]-  {module.partition('.')[0]}: not installed on this machine[/dim]")
            continue
        async for check in importlib.import_module(module).checks(settings):
            _print(console, check)
            well = well and check.ok
    return well


def _print(console: Console, check: Check) -> None:
    mark = "[green]✓[/green]" if check.ok else "[red]✗[/red]"
    console.print(f"{mark}  [bold]{check.part:<15}[/bold]", end=" ")
    console.print(check.found, markup=False, soft_wrap=True)
    if not check.ok:
        console.print(f"   {'':<15} → {check.todo}", markup=False, soft_wrap=True)


def _leaves(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """The errors in a group of groups."""
    leaves: list[Exception] = []
    for error in group.exceptions:
        leaves += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return leaves
