"""Before there is a bot: its store is waited for, and a fresh instance is set up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import structlog

from bot.secrets import api_token
from bot.secrets.credentials import completed, unset
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.outages import StoreDown, awaited, naming
from bot.web.access import Access
from bot.web.server import listening
from bot.web.waiting import waiting
from config.outages import Waits, answered
from config.settings import Settings

T = TypeVar("T")

_SOON = 2.0  # seconds for the store, before whoever asks is told that it is away
_LOOK = 2.0  # seconds between two looks whether another bot was set up

log = structlog.get_logger()


class Stopped(Exception):
    """The process was told to stop while it waited for the store, or to be set up."""


@asynccontextmanager
async def awaited_store(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Store]:
    """The store, waited for until `stop`: meanwhile whoever asks is told so. Raises ConfigError, Stopped."""
    waits = Waits("the store")
    async with AsyncExitStack() as stack:
        opening = asyncio.create_task(stack.enter_async_context(awaited(settings.store_url, waits)))
        try:
            await _until(opening, stop, seconds=_SOON)
            if not opening.done():
                access = Access.of(settings, await asyncio.to_thread(api_token.made, settings))
                async with listening(waiting(waits, access), settings):
                    await _until(opening, stop)
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        if opening.cancelled():
            raise Stopped
        yield opening.result()


async def there(work: Callable[[], Coroutine[Any, Any, T]], stop: asyncio.Event) -> T:
    """What `work` gives, once the store is there for all of it. Raises Stopped."""

    def away(error: Exception) -> str:
        return str(error) if isinstance(error, StoreDown) else ""

    working = asyncio.create_task(answered(Waits("the store"), naming(work), away))
    try:
        await _until(working, stop)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    if working.cancelled():
        raise Stopped
    return working.result()


async def _until(task: asyncio.Task[Any], stop: asyncio.Event, seconds: float | None = None) -> None:
    """Wait for the end of `task` or for `stop`, `seconds` at most."""
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()


async def set_up(settings: Settings, vault: Vault, stop: asyncio.Event) -> Settings:
    """The settings with the App that somebody makes at `/setup`. Raises Stopped."""
    from bot.web.setup import Setup  # once in an instance's life

    setup = Setup(settings, vault)
    async with listening(setup.application(), settings) as url:
        setup.base = settings.public_url or url
        log.warning(f"this instance is not set up: open {setup.address}")
        while unset(settings):
            if stop.is_set():
                raise Stopped
            await _first(setup.done, stop, seconds=_LOOK)
            settings = await completed(settings, vault)  # another bot on this store may have been set up
    # The same port again, where it was any free one.
    return settings.model_copy(update={"port": urlsplit(url).port})


async def _first(*events: asyncio.Event, seconds: float) -> None:
    """Wait for the first of these events, `seconds` at most."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
