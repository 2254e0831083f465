"""The parts of the API that need more than the store: what bot/main.py adds to `Api`."""

from __future__ import annotations

from bot.secrets.repositories import Secrets
from bot.secrets.tokens import Tokens
from bot.store.database import Store
from bot.web.api.channels import ChannelsApi
from bot.web.api.drains import Drains
from bot.web.api.events import Events
from bot.web.api.log_drains import LogDrains
from bot.web.api.mounted import Operated
from bot.web.api.secrets import SecretsApi
from bot.web.api.submissions import Submissions
from bot.web.api.tokens import TokensApi
from bot.web.api.webhooks import WebhooksApi
from bot.web.approvals import Approvals
from bot.web.backups import Backups
from bot.web.changes import Changes
from bot.web.orders import Orders
from bot.web.pages.site import Site
from bot.web.running import RunningApi
from bot.web.sessions import Sessions
from bot.web.tasks import Tasks as TasksApi
from bot.web.why.answer import Why
from config.settings import Settings


def programs(
    store: Store,
    settings: Settings,
    orders: Orders,
    secrets: Secrets,
    sessions: Sessions,
    tokens: Tokens,
    site: Site,
) -> tuple[Operated, ...]:
    """All of them."""
    return (
        Submissions(orders),
        Approvals(orders),
        Drains(store, settings),
        SecretsApi(store, secrets),
        TokensApi(sessions, tokens, settings),
        Changes(store),
        Events(store, site.live),
        RunningApi(site.runtime),
        TasksApi(store),
        Backups(store, settings),
        Why(store, settings.github_url),
        WebhooksApi(store, secrets.webhooks),
        ChannelsApi(store, settings),
        LogDrains(store, secrets, settings, site.runtime.outputs),
    )
