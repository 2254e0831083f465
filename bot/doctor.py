"""Checks of what the bot needs: store, GitHub credentials and permissions, webhook secret."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bot.credentials import completed
from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.store.database import Store
from bot.vault import Vault
from config.checks import Check
from config.errors import ConfigError
from config.settings import Settings

_SHORT_SECRET = 16  # characters


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    check, settings = await _store(settings)
    yield check
    async for check in _github(settings):
        yield check
    yield _secret(settings)


async def _store(settings: Settings) -> tuple[Check, Settings]:
    """The store's check, and the settings with what is sealed in it."""
    try:
        async with Store.opened(settings.store_url) as store:
            found = await store.check()
            try:
                return Check("store", True, found), await completed(settings, Vault(store, settings))
            except ConfigError as error:
                return Check("store", False, str(error), "correct BLACKTREE_SECRET_KEY"), settings
    except ConfigError as error:
        todo = "start the database, or correct BLACKTREE_DATABASE_URL"
        return Check("store", False, str(error), todo), settings


async def _github(settings: Settings) -> AsyncIterator[Check]:
    try:
        async with GitHub.connected(settings) as github:
            yield Check("GitHub", True, await github.check())
            missing = await github.missing_permissions()
    except (ConfigError, GitHubError) as error:
        todo = (
            "set BLACKTREE_GITHUB_TOKEN, or the App's id and private key, of this very GitHub; or start a "
            "fresh bot and open the /setup that its log names"
        )
        yield Check("GitHub", False, str(error), todo)
        return
    if missing:
        todo = "grant them in the App's or the token's settings at GitHub"
        yield Check("permissions", False, f"missing: {', '.join(missing)}", todo)
    else:
        yield Check("permissions", True, "all that is needed")


def _secret(settings: Settings) -> Check:
    secret = settings.github_webhook_secret.get_secret_value() if settings.github_webhook_secret else ""
    if not secret:
        todo = "set BLACKTREE_GITHUB_WEBHOOK_SECRET to what you type into the webhook's form at GitHub"
        return Check("webhook secret", False, "none", todo)
    if len(secret) < _SHORT_SECRET:
        todo = "take a longer one, such as the output of: openssl rand -hex 32"
        return Check("webhook secret", False, f"only {len(secret)} characters", todo)
    return Check("webhook secret", True, f"{len(secret)} characters")
