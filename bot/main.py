"""Where the bot is put together: every part gets what it needs, and ends in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import structlog
import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from bot import quiet
from bot.credentials import completed, unset, webhook_secrets
from bot.dispatch import Dispatcher
from bot.github.forge import GitHub
from bot.github.reporter import Reporter
from bot.grants import Grants
from bot.logs import FileLogs, LogStore
from bot.processing import Processor
from bot.progress import Progress
from bot.routing.caddy import Caddy
from bot.routing.caddy_config import Serving
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proxy import Direct, Proxy
from bot.routing.router import Router
from bot.secrets import Secrets
from bot.store.database import Store
from bot.sweeps.scheduler import sweeping
from bot.vault import Vault
from bot.watching import Watcher
from bot.web.api import Api
from bot.web.app import application
from bot.web.orders import Orders
from bot.web.places import Places
from bot.web.visitors import Visitors
from bot.webhooks import Receiver
from config.errors import ConfigError
from config.fields import size_bytes
from config.settings import Settings
from workers.contract.memory import MemoryQueue
from workers.contract.queue import BotQueue
from workers.contract.rabbitmq import RabbitQueue

_PAUSE = 2.0  # seconds before a part that broke is started again
_GRACE = 10  # seconds that open requests get to end
_LOOK = 2.0  # seconds between two looks whether another bot was set up

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """The bot, until SIGTERM or SIGINT. Raises ConfigError with what is missing."""
    if settings.queue_url.startswith("memory"):
        raise ConfigError(
            "QUEUE_URL: `serve` needs a RabbitMQ (amqp://…); for one process use `blacktree up`"
        )
    async with stopping() as stop:
        try:
            async with (
                RabbitQueue.connected(settings.queue_url, prefix=settings.queue_prefix) as queue,
                bot(settings, queue, stop),
            ):
                await stop.wait()
        except* _Stopped:
            log.info("stopped before the setup")


async def up(settings: Settings) -> None:
    """Bot and worker in one process, until SIGTERM or SIGINT. Raises ConfigError."""
    from workers.main import worker  # only a machine that works has what it needs

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
        except* _Stopped:
            log.info("stopped before the setup")


class _Stopped(Exception):
    """The process was told to stop while it waited to be set up."""


@asynccontextmanager
async def bot(settings: Settings, queue: BotQueue, stop: asyncio.Event) -> AsyncIterator[str]:
    """A running bot; gives the URL that it listens on. A fresh one is set up first, until `stop`.

    Raises ConfigError with what is missing.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with Store.opened(settings.store_url) as store:
        vault = Vault(store, settings)
        settings = await completed(settings, vault)
        if unset(settings):
            settings = await _set_up(settings, vault, stop)
        secrets = Secrets(store, vault)
        await secrets.reseal()
        async with _working(settings, store, queue, secrets) as url:
            yield url


async def _set_up(settings: Settings, vault: Vault, stop: asyncio.Event) -> Settings:
    """The settings with the App that somebody makes at `/setup`. Raises _Stopped."""
    from bot.web.setup import Setup  # once in an instance's life

    setup = Setup(settings, vault)
    async with _http(setup.application(), settings) as url:
        setup.base = settings.public_url or url
        log.warning(f"this instance is not set up: open {setup.address}")
        while unset(settings):
            if stop.is_set():
                raise _Stopped
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


@asynccontextmanager
async def _working(settings: Settings, store: Store, queue: BotQueue, held: Secrets) -> AsyncIterator[str]:
    """A bot that has all that it needs; gives its URL."""
    secrets = webhook_secrets(settings)
    async with GitHub.connected(settings) as github:
        logs = FileLogs(settings.data_dir / "logs", size_bytes(settings.log_budget))
        progress = Progress(store, logs)
        receiver = Receiver(store, secrets)
        visitors = Visitors(store, settings, lambda environment: quiet.wake(store, environment))
        api = (
            Api(store, logs, settings.api_token),
            Places(store, settings.api_token, settings.github_url),
            Orders(store, github, settings),
        )
        web = application(receiver, api, store, queue, visitors)
        async with _http(web, settings) as url, _proxy(settings, _reached(settings, url)) as proxy:
            router = Router(store, proxy, settings, held, _reached(settings, url))
            grants = Grants(store, queue, github, router, held, settings)
            log.info(
                "bot started",
                url=url,
                store=store.description,
                queue=await queue.check(),
                proxy=await proxy.check(),
                github=settings.github_api_url,
            )
            async with _owned(
                queue.serve(grants.answer, progress.hear, progress.bury),
                _steadily("leading", lambda: _lead(store, queue, logs, github, router, proxy, settings)),
            ):
                yield url


def _reached(settings: Settings, url: str) -> str:
    """HOST:PORT at which the proxy reaches the bot that listens at `url`."""
    here = urlsplit(url)
    anywhere = here.hostname in ("0.0.0.0", "::", None)  # noqa: S104
    return settings.proxy_bot or (f"127.0.0.1:{here.port}" if anywhere else here.netloc)


async def _lead(
    store: Store,
    queue: BotQueue,
    logs: LogStore,
    github: GitHub,
    router: Router,
    proxy: Proxy,
    settings: Settings,
) -> None:
    """The work that only one bot does at a time, until that is lost."""
    dispatcher, reporter = Dispatcher(store, queue), Reporter(store, github, settings, logs)
    async with store.leadership() as lost:
        log.info("leading")
        async with (
            sweeping(store, queue, logs, dispatcher, reporter, github, proxy, settings),
            _owned(
                _steadily("processing", Processor(store, github, settings).run),
                _steadily("dispatch", dispatcher.run),
                _steadily("reports", reporter.run),
                _steadily("routes", router.run),
                _steadily("watching", Watcher(store, queue, router, settings).run),
            ),
        ):
            await lost.wait()
    log.warning("not leading any more")


async def _steadily(part: str, work: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled: `work`, again after a pause whenever it ends or breaks, as when the store is away."""
    while True:
        try:
            await work()
        except SQLAlchemyError as error:
            if _ending():
                raise
            cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
            log.warning("the store does not answer", part=part, error=cause, seconds=_PAUSE)
        except Exception:
            if _ending():
                raise
            log.exception("a part broke and is started again", part=part, seconds=_PAUSE)
        await asyncio.sleep(_PAUSE)


def _ending() -> bool:
    """Whether this task is being cancelled, and failed on its way out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


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
async def _proxy(settings: Settings, bot: str) -> AsyncIterator[Proxy]:
    if settings.proxy == "none":
        yield Direct()
    elif settings.proxy == "caddy":
        folder = settings.data_dir / "caddy"
        async with CaddyProcess.running(folder, Serving.of(settings, bot, None)) as caddy:
            yield caddy
    else:
        async with httpx2.AsyncClient() as http:
            yield Caddy(http, settings.proxy, Serving.of(settings, bot, settings.proxy_files))


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: ours drain the whole process."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@asynccontextmanager
async def _http(web: object, settings: Settings) -> AsyncIterator[str]:
    """The web application on its port, which is open when this gives its URL. Raises ConfigError."""
    config = uvicorn.Config(
        web,  # type: ignore[arg-type]
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    server = _Server(config)
    try:
        listener = config.bind_socket()
    except SystemExit:
        raise ConfigError(
            f"PORT: {settings.host}:{settings.port} can't be listened on; is it taken?"
        ) from None
    # asyncio does so by itself only for sockets that name their protocol: an answer's body would wait for
    # the acknowledgement of its head, 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(sockets=[listener]))
        try:
            yield f"http://{settings.host}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await serving


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
