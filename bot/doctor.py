"""Checks of what the bot needs: store, GitHub credentials and permissions, webhook secret."""

from __future__ import annotations

from collections.abc import AsyncIterator

from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.store.database import Store
from config.checks import Check
from config.errors import ConfigError
from config.settings import Settings

_SHORT_SECRET = 16  # characters


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    yield await _store(settings)
    async for check in _github(settings):
        yield check
    yield _secret(settings)


async def _store(settings: Settings) -> Check:
    try:
        async with Store.opened(settings.store_url) as store:
            return Check("store", True, await store.check())
    except ConfigError as error:
        return Check("store", False, str(error), "start the database, or correct BLACKTREE_DATABASE_URL")


async def _github(settings: Settings) -> AsyncIterator[Check]:
    try:
        async with GitHub.connected(settings) as github:
            yield Check("GitHub", True, await github.check())
            missing = await github.missing_permissions()
    except (ConfigError, GitHubError) as error:
        todo = "set BLACKTREE_GITHUB_TOKEN, or the App's id and private key, of this very GitHub"
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
