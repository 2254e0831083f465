"""`blacktree pools`: what each pool wants and has, where the bot runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from config.logging import configure
from config.settings import Settings
from config.sources import load

if TYPE_CHECKING:
    from bot.fleet.scaling.shown import ShownPool


def pools(
    config: Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")] = None,
) -> None:
    """Show each pool: what is wanted, what is there, what waits, and why."""
    settings = load(file=config)
    configure(settings.log_format, quiet=True)
    found = asyncio.run(_found(settings))
    table = Table("pool", "wanted", "workers", "on the way", "draining", "busy", "waiting", "why", box=None)
    for pool in found:
        wanted = "-" if pool.wanted is None else str(pool.wanted)
        counts = (pool.workers, pool.coming, pool.draining)
        busy = f"{pool.busy}/{pool.slots}"
        table.add_row(pool.name, wanted, *map(str, counts), busy, str(pool.waiting), pool.why)
    Console().print(table if found else "there is no pool yet: no worker was heard, and no job waits")


async def _found(settings: Settings) -> list[ShownPool]:
    from bot.fleet.scaling import shown
    from bot.store.database import Store
    from workers.contract.messages import now

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with Store.opened(settings.store_url) as store, store.reading() as session:
        return await shown.pools(session, settings, now())
