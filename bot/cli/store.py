"""The store of the bot on this machine, for commands that look into it or write there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bot.cli.roles import BOT
from config import private
from config.logging import configure
from config.settings import Settings
from config.sources import load

if TYPE_CHECKING:
    from bot.secrets.vault import Vault
    from bot.store.database import Store

T = TypeVar("T")


def done(file: Path | None, act: Callable[[Settings, Store, Vault], Awaitable[T]]) -> T:
    """What `act` gives, with the settings of `file`. Raises ConfigError, also where no bot is installed."""
    BOT.wanted()
    settings = load(file=file)
    configure(settings.log_format, quiet=True)
    private.keep()
    return asyncio.run(_acted(settings, act))


async def _acted(settings: Settings, act: Callable[[Settings, Store, Vault], Awaitable[T]]) -> T:
    from bot.secrets.vault import Vault
    from bot.store.database import Store

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with Store.opened(settings.store_url) as store:
        return await act(settings, store, Vault(store, settings))
