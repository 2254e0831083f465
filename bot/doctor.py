"""Checks of what the bot needs: store, GitHub credentials and permissions, webhook secret, queue, proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.intake.senders import UNHIDE, proxied
from bot.log_drains.drainer import troubles
from bot.log_drains.forms import Source
from bot.log_drains.sink import DrainDown, DrainRefused
from bot.log_drains.sinks import sink
from bot.log_drains.wanted import instances
from bot.outbox.calling import is_known
from bot.outbox.posting import NotTaken
from bot.routing.caddy import Caddy, admin
from bot.routing.caddy_config import Serving
from bot.routing.proxy import ProxyDown
from bot.routing.tcp_ports import standing
from bot.secrets.credentials import completed, unset
from bot.secrets.vault import Vault
from bot.store.database import Store
from config.checks import Check
from config.errors import ConfigError
from config.settings import Settings
from config.trust import trusted
from workers.contract import broker_address
from workers.contract.broker_connection import BrokerConnection
from workers.contract.broker_topology import Topology
from workers.contract.queue import QueueDown

_SHORT_SECRET = 16  # characters
_SHOWN = 5  # log drains that are named


async def checks(settings: Settings) -> AsyncIterator[Check]:
    """Each part's check, as it is done."""
    check, settings = await _store(settings)
    yield check
    if unset(settings):
        todo = (
            "start `blacktree up` or `serve` and open the /setup that its log names; or, without an App, set "
            "BLACKTREE_GITHUB_TOKEN and BLACKTREE_GITHUB_WEBHOOK_SECRET"
        )
        yield Check("GitHub", False, "this instance is not set up", todo)
    else:
        async for check in _github(settings):
            yield check
        yield _secret(settings)
    if not settings.queue_url.startswith("memory"):
        yield await _queue(settings)
    if settings.github_addresses:
        yield senders(settings)
    if settings.proxy not in ("caddy", "none"):
        yield await proxy(settings)
    async for check in log_drains(settings):
        yield check
    if settings.channels:
        yield await channels(settings)
    if settings.tcp_ports:
        async for check in tcp(settings):
            yield check


async def _store(settings: Settings) -> tuple[Check, Settings]:
    """The store's check, and the settings with what is sealed in it."""
    try:
        async with Store.opened(settings.store_url) as store:
            found = await store.check()
            vault = Vault(store, settings)
            try:
                await vault.all()  # whoever cannot open them does not start
                return Check("store", True, found), await completed(settings, vault)
            except ConfigError as error:
                return Check("store", False, str(error), "correct BLACKTREE_SECRET_KEY"), settings
    except ConfigError as error:
        todo = "start the database, or correct BLACKTREE_DATABASE_URL"
        return Check("store", False, str(error), todo), settings


async def _queue(settings: Settings) -> Check:
    trusted, topology = broker_address.Certificates.of(settings), Topology(settings.queue_prefix)
    try:
        connection = BrokerConnection(settings.queue_url, topology, "doctor", None, trusted)
        async with connection.opened(0):
            return Check("queue", True, f"{await connection.asked()}, as the bot")
    except QueueDown as error:
        return Check("queue", False, str(error), broker_address.todo(error))


async def _github(settings: Settings) -> AsyncIterator[Check]:
    try:
        async with GitHub.connected(settings) as github:
            yield Check("GitHub", True, await github.check())
            missing = await github.missing_permissions()
    except (ConfigError, GitHubError) as error:
        todo = (
            "see whether BLACKTREE_GITHUB_API_URL is reached from here, and set BLACKTREE_GITHUB_TOKEN, or "
            "the App's id and private key, of this very GitHub"
        )
        yield Check("GitHub", False, str(error), todo)
        return
    if missing:
        todo = "grant them in the App's or the token's settings at GitHub"
        yield Check("permissions", False, f"missing: {', '.join(missing)}", todo)
    else:
        yield Check("permissions", True, "all that is needed")


async def proxy(settings: Settings) -> Check:
    """Whether a Caddy that runs elsewhere does as the bot says, and not as others say."""
    async with admin(settings.proxy) as http:
        try:
            found = await Caddy(http, settings.proxy, Serving()).check()
        except ProxyDown as error:
            return Check("proxy", False, str(error), "start it, or correct BLACKTREE_PROXY")
        if settings.proxy.startswith("unix://"):
            return Check("proxy", True, found)
        async with httpx2.AsyncClient(verify=trusted(), base_url=http.base_url) as stranger:
            answer = await stranger.get("/config/")
    if answer.is_error:
        return Check("proxy", True, found)
    told = f"{found} answers whoever reaches it, a build on this machine too"
    return Check("proxy", False, told, "let its admin API listen at a socket (docs/proxy.md#the-admin-api)")


async def log_drains(settings: Settings) -> AsyncIterator[Check]:
    """Whether the instance's is reached, and which of all take nothing."""
    if target := instances(settings):
        made, shown = sink(target), target.address.shown
        try:
            await made.send(Source("blacktree/doctor", "doctor"), [])
            yield Check("log drain", True, f"{shown} is reached")
        except DrainRefused as error:  # nothing was in it
            yield Check("log drain", True, f"{shown} is reached, and answers to an empty batch: {error}")
        except DrainDown as error:
            todo = "correct BLACKTREE_LOG_DRAIN and BLACKTREE_LOG_DRAIN_HEADERS"
            yield Check("log drain", False, f"{shown}: {error}", todo)
        finally:
            await made.close()
    try:
        async with Store.opened(settings.store_url) as store:
            failing = await troubles(store)
    except ConfigError:
        return  # it is told as the store's
    if failing:
        more = f", and {len(failing) - _SHOWN} more" if len(failing) > _SHOWN else ""
        todo = "mend what is there, or take it out of `logs` in .blacktree.yml (docs/running.md#log-drains)"
        yield Check("log drains", False, f"{'; '.join(failing[:_SHOWN])}{more}", todo)


async def channels(settings: Settings) -> Check:
    """Whether NOTIFY's addresses are such that something can be sent there; nothing is."""
    unknown = []
    for one in settings.channels:
        try:
            if not await is_known(one.address):
                unknown.append(one.name)
        except NotTaken:
            unknown.append(one.name)
    if not unknown:
        return Check("channels", True, ", ".join(one.name for one in settings.channels))
    todo = "correct BLACKTREE_NOTIFY; `blacktree notify test NAME --instance` sends a message"
    return Check("channels", False, f"apprise knows no such address: {', '.join(unknown)}", todo)


async def tcp(settings: Settings) -> AsyncIterator[Check]:
    """Whether another process that exposes a port could have one."""
    try:
        async with Store.opened(settings.store_url) as store, store.reading() as session:
            given, left = await standing(session, settings)
    except ConfigError:
        return  # it is told as the store's
    todo = "widen BLACKTREE_TCP_PORTS, or end what else listens there"
    yield Check("TCP ports", left > 0, f"{settings.tcp_ports}: {given} given, {left} left", todo * (not left))


def senders(settings: Settings) -> Check:
    """Whether deliveries can come from GitHub's own addresses, where no others are listened to."""
    why = proxied(settings)
    return Check("senders", not why, why or "GitHub's own addresses alone", UNHIDE if why else "")


def _secret(settings: Settings) -> Check:
    secret = settings.github_webhook_secret.get_secret_value() if settings.github_webhook_secret else ""
    if not secret:
        todo = "set BLACKTREE_GITHUB_WEBHOOK_SECRET to what you type into the webhook's form at GitHub"
        return Check("webhook secret", False, "none", todo)
    if len(secret) < _SHORT_SECRET:
        todo = "take a longer one, such as the output of: openssl rand -hex 32"
        return Check("webhook secret", False, f"only {len(secret)} characters", todo)
    return Check("webhook secret", True, f"{len(secret)} characters")
