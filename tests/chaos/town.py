"""Everything that there is: two bots behind a balancer, three workers on one engine, and what they need."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

import docker

from tests.chaos.schedule import BOTS, LEASE, WORKERS
from tests.github import Contract, GitHub, Repository, User, WorkTree
from tests.instance import Instance, Process, instance
from tests.parts.balancer import Balancer
from tests.parts.broker import Broker
from tests.parts.caddy import Caddy
from tests.parts.clock import Clock
from tests.parts.disk import Disk
from tests.parts.dockerd import Dockerd
from tests.parts.engine import BASE_IMAGE
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from tests.parts.relay import Relay
from tests.parts.waiting import free_port

SETTINGS = (
    "environments:\n  production: {stability: 0, drain: 1, grace: 1}\n  preview: {stability: 0, drain: 1}\n"
)
PAGE = "www/index.html"


@dataclass
class Town:
    """What is driven, broken and looked at."""

    fleet: Instance
    github: GitHub
    broker: Broker
    postgres: Postgres
    registry: Registry
    caddy: Caddy
    database: str
    engine: docker.DockerClient
    user: User
    shop: Repository
    work: WorkTree
    bots: list[Process]
    workers: list[Process]
    stores: list[Relay]  # each bot's line to the database
    queues: list[Relay]  # the bots' lines to the broker, then the workers'
    disks: dict[str, Disk]  # each process's own, by its name
    clocks: dict[str, Clock]  # as the disks
    pages: dict[str, str] = field(default_factory=dict)  # what each commit serves

    def disk(self, process: Process) -> Disk:
        return self.disks[process.log.stem]

    def clock(self, process: Process) -> Clock:
        return self.clocks[process.log.stem]


def dockerfile(seconds: int = 0) -> str:
    """An app whose build takes some time, and can be killed in the middle of it."""
    return (
        f"FROM {BASE_IMAGE}\nCOPY {PAGE} /{PAGE}\nRUN sleep {seconds}\nEXPOSE 8080\n"
        'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'
    )


@dataclass
class Parts:
    """What a town stands on. The broker and the database are broken; the database's name is the town's."""

    broker: Broker
    postgres: Postgres
    registry: Registry
    engine: docker.DockerClient
    host: str  # DOCKER_HOST
    database: str = "chaos"


@dataclass
class Ground:
    """What towns stand on one after the other: to start it costs more than much of what they do there."""

    broker: Broker
    postgres: Postgres
    _used: bool = False

    @classmethod
    @contextlib.contextmanager
    def laid(cls) -> Iterator[Self]:
        """Nobody else works with it."""
        with Broker() as broker, Postgres() as postgres:
            yield cls(broker, postgres)

    @contextlib.contextmanager
    def parts(self) -> Iterator[Parts]:
        """For one town, which finds nothing of those before it: `town` makes the database anew."""
        if self._used:
            self.broker.empty()
        self._used = True
        with Dockerd("8g") as engine, Registry() as registry:
            yield Parts(self.broker, self.postgres, registry, engine.client, engine.url)


@cache
def _contract() -> Contract | None:
    return Contract.find()


@contextlib.asynccontextmanager
async def town(folder: Path, parts: Parts) -> AsyncIterator[Town]:
    """All of it, at work, with a folder of its own; at the end nothing is left of it but what serves."""
    ports = [free_port() for _ in range(BOTS)]
    broker, postgres, registry = parts.broker, parts.postgres, parts.registry
    async with contextlib.AsyncExitStack() as stack:
        balancer, caddy = stack.enter_context(Balancer(ports)), stack.enter_context(Caddy())
        running = GitHub.running(folder / "github", contract=_contract())
        github = await stack.enter_async_context(running)
        ada = github.user("ada")
        files = {"Dockerfile": dockerfile(), PAGE: "first", ".blacktree.yml": SETTINGS}
        shop = await github.create_repository("acme/shop", files, collaborators={"ada": "write"})
        stores = [await stack.enter_async_context(Relay(postgres.port).ready()) for _ in range(BOTS)]
        queues = [await stack.enter_async_context(Relay(broker.port).ready()) for _ in range(BOTS + WORKERS)]
        database = postgres.create_database(parts.database)
        fleet = await stack.enter_async_context(
            instance(
                folder,
                github,
                database_url=database,
                queue_url=broker.amqp_url,
                queue_prefix=parts.database,
                secret_key="of all bots of this instance",
                api_token="t" * 40,
                registry=f"{registry.address}/acme",
                registry_username=registry.username,
                registry_password=registry.password,
                lease=str(LEASE),
                proxy=caddy.place,
                proxy_files=str(caddy.files),
                worker_slots="1",
                disk_free="32m",
                attempts="20",
                log_format="json",
            )
        )
        fleet.settings["DOCKER_HOST"] = parts.host
        fleet.url = balancer.url
        github.app.hook_url = f"{balancer.url}/webhooks/github"
        names = [
            *(f"bot-{number}" for number in range(BOTS)),
            *(f"worker-{number}" for number in range(WORKERS)),
        ]
        disks = {name: stack.enter_context(Disk(folder / name)) for name in names}
        clocks = {name: Clock(folder / f"{name}.clock") for name in names}
        for number in range(WORKERS):
            await fleet.credential(f"worker-{number}")  # past the relays
        for relay in (*stores, *queues):
            await relay.open()
        bots = [
            await fleet.start(
                "serve",
                f"bot-{number}",
                environ=clocks[f"bot-{number}"].environ,
                port=str(ports[number]),
                database_url=database.replace(f":{postgres.port}/", f":{stores[number].port}/"),
                queue_url=_through(queues[number]),
            )
            for number in range(BOTS)
        ]
        await fleet.ready()
        workers = [
            await fleet.start(
                "worker",
                f"worker-{number}",
                environ=clocks[f"worker-{number}"].environ,
                queue_url=_through(queues[BOTS + number]),
            )
            for number in range(WORKERS)
        ]
        github.install_app(shop)
        work = await shop.clone(folder / "work", ada)
        yield Town(
            fleet,
            github,
            broker,
            postgres,
            registry,
            caddy,
            parts.database,
            parts.engine,
            ada,
            shop,
            work,
            bots,
            workers,
            stores,
            queues,
            disks,
            clocks,
        )


def _through(relay: Relay) -> str:
    return f"amqp://guest:guest@127.0.0.1:{relay.port}/"
