"""The composition root of `blacktree worker`, and of the worker inside `blacktree up`."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Mapping
from ipaddress import IPv4Network

import structlog

from config.errors import ConfigError
from config.settings import Settings
from workers.contract import credential
from workers.contract.queue import WorkerQueue
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.limits import own_limit
from workers.upkeep.janitor import config_prefix
from workers.worker import Worker

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then drain; a second signal stops at once. Raises ConfigError."""
    if settings.queue_url.startswith("memory:"):
        raise ConfigError(
            "BLACKTREE_QUEUE_URL: a worker of its own needs a queue that the bot reaches too: set it to"
            " amqp://… of a RabbitMQ, or run both in one process with `blacktree up`"
        )
    from workers.contract.broker_address import Certificates
    from workers.contract.rabbitmq import RabbitWorker

    settings, known = credential.of(settings)
    url, prefix, trusted = settings.queue_url, settings.queue_prefix, Certificates.of(settings)
    signals = _Signals()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.take)
    try:
        connected = RabbitWorker.connected(url, known, prefix, wait=math.inf, certificates=trusted)
        async with connected as queue:
            working = worker(settings, queue)
            signals.reach(working)
            await working.run()
    except asyncio.CancelledError:
        if not signals.early:
            raise
        log.info("stopped before it began")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def worker(settings: Settings, queue: WorkerQueue, environ: Mapping[str, str] = os.environ) -> Worker:
    """A worker with this machine's Docker."""
    prefix = config_prefix(settings.worker, settings.data_dir)
    return Worker(
        settings,
        queue,
        DockerEngine(environ, prefix, IPv4Network(settings.network_range)),
        builder=lambda: find_builder(environ, prefix, own_limit(settings)),
        environ=environ,
    )


class _Signals:
    """The first one drains, the second one ends; while the broker is waited for, the first one ends."""

    def __init__(self) -> None:
        self.early = False
        self._waiting = asyncio.current_task()
        self._working: Worker | None = None
        self._count = 0

    def reach(self, working: Worker) -> None:
        self._working = working

    def take(self) -> None:
        self._count += 1
        if self._working is None:
            self.early = True
            if self._waiting is not None:
                self._waiting.cancel()
            return
        self._working.stop(now=self._count > 1)
        log.info("stopping" if self._count > 1 else "draining; a second signal stops at once")
