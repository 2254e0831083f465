"""The console script `blacktree`. Each command imports what it needs, and only that."""

from __future__ import annotations

import asyncio
import errno
import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bot.cli import backup, backups, hook, init, logs, pools, run, secret, token, workers
from bot.cli import config as repository_file
from bot.cli.remote import acting, draining, looking, shell, signing, steering, telling, why
from bot.cli.roles import BOT, WORKER
from config import dumps, private
from config.checks import Check
from config.errors import ConfigError
from config.logging import configure
from config.settings import Settings
from config.sources import load
from workers.contract.queue import QueueDown

app = typer.Typer(
    help="A push becomes running containers, and GitHub is told.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(init.init)
app.command()(run.run)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(pools.pools)
app.command()(logs.logs)
app.add_typer(backups.app, name="backups")
app.add_typer(hook.app, name="hook")
app.add_typer(repository_file.app, name="config")
app.add_typer(secret.app, name="secret")
app.add_typer(token.app, name="token")
app.add_typer(workers.app, name="workers")
app.add_typer(telling.notify, name="notify")
app.add_typer(telling.webhooks, name="webhooks")
app.add_typer(draining.drains, name="drains")
for command in (
    signing.login, signing.logout, looking.status, looking.runs, looking.env, acting.deploy,
    acting.promote, acting.rollback, acting.update, acting.cancel, acting.retry, steering.stop, steering.wake,
    steering.maintenance, steering.lock, steering.unlock, steering.approvals, steering.approve,
    steering.deny, why.why,
):  # fmt: skip
    app.command()(command)
app.command("open")(signing.open_)
app.command("exec", cls=shell.Dashed)(shell.exec_)
_FULL = (errno.ENOSPC, errno.EDQUOT)
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


@app.command()
def serve(config: File = None) -> None:
    """Run the bot: receives webhooks, decides, tells GitHub. Needs RabbitMQ and workers."""
    settings = _settings(config)
    bot = BOT.part("main")
    bot.run(bot.serve(settings))


@app.command()
def worker(config: File = None) -> None:
    """Run a worker: builds images and runs containers for the bot, over RabbitMQ."""
    settings = _settings(config)
    asyncio.run(WORKER.part("main").run(settings))


@app.command()
def up(config: File = None) -> None:
    """Run bot and worker in one process: one machine, SQLite, no broker."""
    settings = _settings(config)
    bot = BOT.part("main")
    bot.run(bot.up(settings, WORKER.part("main").worker))


@app.command()
def doctor(config: File = None) -> None:
    """Check each outside part, and say what to do about those that fail. Exits 1 if one does."""
    settings = _settings(config, quiet=True)
    console = Console()
    if not asyncio.run(_checked(settings, console)):
        raise typer.Exit(1)


@app.command()
def login_link(config: File = None) -> None:
    """Print a link that signs a browser in to the pages: once, within an hour."""
    from bot.secrets import api_token
    from bot.store import audit
    from bot.store.database import Store
    from bot.web.sessions import Sessions

    async def made(settings: Settings) -> str:
        async with Store.opened(settings.store_url) as store:
            sessions = Sessions(store, api_token.found(settings), settings.public_url)
            await audit.written(store, audit.here("made a link that signs in the administrator"))
            return await sessions.link(settings.base_url)

    typer.echo(asyncio.run(made(_settings(config, quiet=True))))


@app.command()
def version() -> None:
    """Print the version."""
    Console().print(f"blacktree {installed('blacktree')}")


def main() -> None:
    """Run the command line; a fault of the user's is told in plain words and exits with 2."""
    dumps.none()
    try:
        app()
    except* (ConfigError, QueueDown) as errors:
        for error in _leaves(errors):
            _complain(str(error))
        sys.exit(2)
    except* OSError as errors:
        _, others = errors.split(lambda error: isinstance(error, OSError) and error.errno in _FULL)
        if others is not None:
            raise
        _complain("the disk is full: make room where DATA_DIR and TMPDIR are, and start it again")
        sys.exit(2)


def _complain(sentence: str) -> None:
    Console(stderr=True).print(f"blacktree: {sentence}", style="red", markup=False, soft_wrap=True)


def _settings(file: Path | None, quiet: bool = False) -> Settings:
    settings = load(file=file)
    configure(settings.log_format, quiet)
    private.keep()
    return settings


async def _checked(settings: Settings, console: Console) -> bool:
    """Print every check of the roles that are installed here; whether all are well."""
    folder = private.check(settings)
    _print(console, folder)
    well = folder.ok
    for role in (WORKER, BOT):
        if not role.installed:
            console.print(f"[dim]-  {role.name}: not installed on this machine[/dim]")
            continue
        async for check in role.part("doctor").checks(settings):
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
