"""Where the bot is put together: every part gets what it needs, and ends in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog
import uvloop

from bot.decisions import quiet
from bot.fleet import enrolment
from bot.fleet.border import Border
from bot.fleet.claims import Claims
from bot.fleet.heartbeats import Heartbeats
from bot.fleet.progress import Progress
from bot.fleet.requests import Requests
from bot.fleet.scaling import providers
from bot.fleet.scaling.scaler import Scaler
from bot.fleet.watching import Watcher
from bot.github.forge import GitHub
from bot.intake.processing import Processor
from bot.intake.receiver import Receiver
from bot.intake.senders import UNHIDE, Senders, proxied
from bot.jobs.dispatch import Dispatcher
from bot.log_drains.drainer import Drainer
from bot.metrics import loop
from bot.metrics.queue import MeasuredQueue
from bot.outbox.sending import Outbox
from bot.reports.reporter import Reporter
from bot.routing.caddy import Caddy, admin
from bot.routing.caddy_config import Serving
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Direct, Proxy
from bot.routing.router import Router
from bot.routing.tcp_relays import TcpRelays
from bot.secrets import api_token
from bot.secrets.credentials import completed, unset, webhook_secrets
from bot.secrets.repositories import Secrets
from bot.secrets.tokens import Tokens
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.logs import FileLogs, LogStore
from bot.store.outages import naming, told
from bot.store.outputs import Outputs
from bot.sweeps.scheduler import sweeping
from bot.web.access import Access
from bot.web.api import Api
from bot.web.api.mounted import RATES, Operated
from bot.web.api.programs import programs
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.opening import Stopped, awaited_store, set_up, there
from bot.web.orders import Orders
from bot.web.pages.arrival import Arrival
from bot.web.pages.site import Site
from bot.web.permissions import Permissions
from bot.web.places import Places
from bot.web.pools import Pools
from bot.web.server import listening
from bot.web.sessions import Sessions
from bot.web.shells import Shells
from bot.web.visitors import Visitors
from config import private
from config.errors import ConfigError
from config.fields import size_bytes
from config.networks import loops_back
from config.outages import Outside
from config.settings import Settings
from workers.contract.broker_address import Certificates
from workers.contract.memory import MemoryQueue
from workers.contract.queue import BotQueue, WorkerQueue
from workers.contract.rabbitmq import RabbitBot

_PAUSE = 2.0  # seconds before a part that broke is started again
_PROXY = "the proxy"  # what its key follows from

log = structlog.get_logger()


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do it on the loop that costs least."""
    uvloop.run(work)


async def serve(settings: Settings) -> None:
    """The bot, until SIGTERM or SIGINT. Raises ConfigError with what is missing."""
    if settings.queue_url.startswith("memory"):
        raise ConfigError(
            "QUEUE_URL: `serve` needs a RabbitMQ (amqp://…); for one process use `blacktree up`"
        )
    async with stopping() as stop:
        try:
            async with _bot(settings, _rabbit, stop):
                await stop.wait()
        except* Stopped:
            log.info("stopped before it began")


class Working(Protocol):
    """A worker, as far as `up` knows it."""

    async def run(self) -> None:
        """Work until it is stopped."""

    def stop(self) -> None:
        """Drain, and end."""


async def up(settings: Settings, worker: Callable[[Settings, WorkerQueue], Working]) -> None:
    """Bot and a `worker` in one process, until SIGTERM or SIGINT. Raises ConfigError."""
    queue = MemoryQueue()
    async with stopping() as stop:
        try:
            async with bot(settings, queue, stop), asyncio.TaskGroup() as group:
                here = worker(settings, queue)
                working = group.create_task(here.run())
                stopped = group.create_task(stop.wait())
                await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                here.stop()
        except* Stopped:
            log.info("stopped before it began")


_Opened = Callable[[Settings, Store, Vault, asyncio.Event], AbstractAsyncContextManager[BotQueue]]


@asynccontextmanager
async def bot(settings: Settings, queue: BotQueue, stop: asyncio.Event) -> AsyncIterator[str]:
    """A running bot; gives the URL that it listens on. A fresh one is set up first, until `stop`.

    Raises ConfigError with what is missing.
    """
    async with _bot(settings, lambda *_: contextlib.nullcontext(queue), stop) as url:
        yield url


@asynccontextmanager
async def _rabbit(
    settings: Settings, store: Store, vault: Vault, stop: asyncio.Event
) -> AsyncIterator[BotQueue]:
    """The queue across machines, with its border; one that is away is no reason to take no webhooks.

    Raises QueueRefused, Stopped.
    """
    border = Border(store, await there(lambda: enrolment.keys(vault), stop))
    url, prefix, trusted = settings.queue_url, settings.queue_prefix, Certificates.of(settings)
    async with RabbitBot.connected(url, border, prefix, wait=None, certificates=trusted) as queue:
        yield queue


@asynccontextmanager
async def _bot(settings: Settings, opened: _Opened, stop: asyncio.Event) -> AsyncIterator[str]:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place, mode in private.exposed(settings):
        log.warning(
            "others on this machine may read it: see `blacktree doctor`", place=str(place), mode=f"{mode:o}"
        )
    async with awaited_store(settings, stop) as store:
        vault = Vault(store, settings)
        secrets = Secrets(store, vault)

        async def known() -> tuple[Settings, bytes]:
            told = await completed(settings, vault)
            if unset(told):
                told = await set_up(told, vault, stop)
            await secrets.reseal()
            return told, await vault.keyed(_PROXY)

        async with opened(settings, store, vault, stop) as opened_queue:
            queue = MeasuredQueue(opened_queue, store.instruments)
            whole, key = await there(known, stop)
            scaler = Scaler(store, queue, vault, whole)
            async with _working(whole, store, queue, secrets, scaler, key) as url:
                yield url


@asynccontextmanager
async def _working(
    settings: Settings, store: Store, queue: BotQueue, held: Secrets, scaler: Scaler, key: bytes
) -> AsyncIterator[str]:
    """A bot that has all that it needs; gives its URL. `key` is what the proxy proves itself with."""
    secrets = webhook_secrets(settings)
    pools = [(pool, providers.of(pool, settings, store.instance, os.environ)) for pool in settings.scaled]
    async with GitHub.connected(settings, store.instruments) as github:
        logs = FileLogs(settings.data_dir / "logs", size_bytes(settings.log_budget))
        progress, outputs = Progress(store, logs), Outputs.of(settings)
        senders = Senders(github)
        if why := proxied(settings):
            log.warning("GITHUB_ADDRESSES refuses all deliveries if so", why=why, todo=UNHIDE)
        receiver = Receiver(store, secrets, senders if settings.github_addresses else None)
        visitors = Visitors(store, settings, lambda environment: quiet.wake(store, environment), key)
        orders = Orders(store, github, settings)
        places, pools_told = Places(store, settings.github_url), Pools(store, settings)
        token = await asyncio.to_thread(api_token.made, settings)
        sessions = Sessions(store, token, settings.public_url)
        permissions = Permissions(store, github.people, settings)
        tokens = Tokens(store)
        access = Access.of(settings, token, sessions, tokens, permissions)
        arrival = Arrival.of(github.people, permissions, sessions, settings)
        site = Site.of(store, logs, settings, sessions, orders, arrival, outputs, held)
        further = programs(store, settings, orders, held, sessions, tokens, site)
        api: tuple[Operated, ...] = (Api(store, logs), places, orders, pools_told, *further)
        metrics = Metrics(store, queue, settings.lease)
        shells = Shells(store, queue, settings, access, permissions, store.instruments)
        web = application(
            receiver, api, store, queue, visitors, access, metrics, site, RATES, shells.routes()
        )
        async with (
            listening(web, settings) as url,
            site.live.open(),
            _proxy(settings, _reached(settings, url), key) as proxy,
        ):
            router = Router(store, proxy, settings, held, _reached(settings, url))
            requests = Requests(
                store,
                Claims(store, queue, github, router, held, settings),
                Heartbeats(store, settings),
                router,
                outputs,
                local=not settings.registry,
            )
            log.info(
                "bot started",
                url=url,
                store=store.description,
                queue=await _found(queue),
                proxy=await _found(proxy),
                github=settings.github_api_url,
            )
            scaling = partial(scaler.run, pools) if pools else None
            outbox = Outbox(store, held, settings)
            drainer = Drainer(store, outputs, held, settings)
            lead = partial(
                _lead, store, queue, progress, logs, outputs, github, router, proxy, settings, outbox,
                drainer, scaling,
            )  # fmt: skip
            async with _owned(
                queue.serve(naming(requests.answer), naming(progress.hear), naming(progress.bury)),
                *(
                    [_steadily("TCP ports", TcpRelays(store, settings.proxy_bind).run)]
                    if settings.tcp_ports
                    else []
                ),
                *([_steadily("senders", senders.run)] if settings.github_addresses else []),
                loop.watch(store.instruments),
                _steadily("leading", lead),
                _superseded(store),
                _greeted(sessions, settings, settings.public_url or url),
            ):
                yield url


async def _greeted(sessions: Sessions, settings: Settings, base: str) -> None:
    """Whoever starts an instance for the first time is told where to sign in.

    A log is read by others too: it has the link only where this machine alone reaches what it opens.
    """
    try:
        if not loops_back(settings.host):
            if await sessions.first():
                log.warning(
                    f"nobody has signed in yet: open {base}, or what `blacktree login-link`, run here, prints"
                )
        elif link := await sessions.first_link(base):
            log.warning(
                f"nobody has signed in yet: open {link} within an hour; `blacktree login-link` makes more"
            )
    except Exception as error:
        told(log, "no sign-in link was made: run `blacktree login-link`", error)


async def _found(part: BotQueue | Proxy) -> str:
    """What it is, or that it is away, for people."""
    try:
        return await part.check()
    except Outside as error:
        return f"down: {error}"


def _reached(settings: Settings, url: str) -> str:
    """HOST:PORT at which the proxy reaches the bot that listens at `url`."""
    here = urlsplit(url)
    anywhere = here.hostname in ("0.0.0.0", "::", None)  # noqa: S104
    return settings.proxy_bot or (f"127.0.0.1:{here.port}" if anywhere else here.netloc)


async def _lead(
    store: Store,
    queue: BotQueue,
    progress: Progress,
    logs: LogStore,
    outputs: Outputs,
    github: GitHub,
    router: Router,
    proxy: Proxy,
    settings: Settings,
    outbox: Outbox,
    drainer: Drainer,
    scaling: Callable[[], Coroutine[Any, Any, None]] | None,
) -> None:
    """The work that only one bot does at a time, until that is lost."""
    dispatcher = Dispatcher(store, queue, settings.lease, settings.ranks, settings.repository_jobs)
    reporter = Reporter(store, github, settings, logs)
    async with store.leadership() as lost, store.instruments.leading():
        log.info("leading")
        async with (
            sweeping(store, queue, logs, outputs, reporter, github, proxy, settings),
            _owned(
                _steadily("processing", Processor(store, github, settings).run),
                _steadily("dispatch", dispatcher.run),
                _steadily("log lines", partial(queue.hear_lines, naming(progress.hear))),
                _steadily("reports", reporter.run),
                _steadily("outbox", outbox.run),
                _steadily("routes", router.run),
                _steadily("log drains", drainer.run),
                _steadily("watching", Watcher(store, queue, router, settings).run),
                *([_steadily("scaling", scaling)] if scaling else []),
            ),
        ):
            await lost.wait()
    log.warning("not leading any more")


async def _superseded(store: Store) -> None:
    """Until a newer version has brought the store forward. Raises ConfigError then: this one has to end."""
    await store.superseded.wait()
    raise ConfigError(
        f"DATABASE_URL: {store.description}: a newer Blacktree has taken it over: upgrade this one"
    )


async def _steadily(part: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Until cancelled: `work`, again after a pause whenever it ends or breaks, as when the store is away.

    It is a task of its own: one whose task group broke counts as cancelled ever after (Python 3.11), and
    could not be told from one that is.
    """
    while True:
        working = asyncio.create_task(work())
        try:
            await asyncio.wait({working})
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        if not working.cancelled() and (error := working.exception()):
            told(log, "a part is started again", error, part=part, seconds=_PAUSE)
        await asyncio.sleep(_PAUSE)


@asynccontextmanager
async def _owned(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """These coroutines run until the end of the block; one that fails ends the block."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


@asynccontextmanager
async def _proxy(settings: Settings, bot: str, key: bytes) -> AsyncIterator[Proxy]:
    if settings.proxy == "none":
        yield Direct()
    elif settings.proxy == "caddy":
        folder = settings.data_dir / "caddy"
        async with CaddyProcess.running(folder, Serving.of(settings, bot, None, key)) as caddy:
            yield caddy
    else:
        if settings.proxy_files and not settings.proxy_files.exists():
            settings.proxy_files.mkdir(parents=True)
            settings.proxy_files.chmod(0o755)  # for Caddy, whoever that is
        async with admin(settings.proxy) as http:
            yield Caddy(http, settings.proxy, Serving.of(settings, bot, settings.proxy_files, key))


@asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
