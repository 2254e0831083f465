"""A worker at the protocol, over a real broker: it ends each job at once, unless it is to be kept.

And the bot that it works for: `blacktree serve` on PostgreSQL and RabbitMQ, with a repository to push to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from bot.store.database import Store
from tests.github import GitHub, WorkTree
from tests.instance import Instance, instance
from tests.parts.broker import Broker
from tests.parts.postgres import Postgres
from workers.contract.credential import Credential
from workers.contract.messages import (
    AttemptRef,
    Claim,
    Failed,
    Fault,
    Finished,
    Grant,
    Heartbeat,
    now,
)
from workers.contract.rabbitmq import RabbitWorker
from workers.contract.seal import Keys

SLOTS = 4
_FAILURE = Failed(fault=Fault.USER, reason="bench", sentence="nothing was built")


@dataclass(frozen=True)
class Serving:
    """A bot, its store, what its worker `one` is connected by, and a clone of its repository."""

    here: Instance
    store: Store
    queue: RabbitWorker
    work: WorkTree


@contextlib.asynccontextmanager
async def serving(folder: Path, database: str, wait: float) -> AsyncIterator[Serving]:
    """`wait`: seconds until the broker is given up."""
    async with AsyncExitStack() as stack:
        broker, postgres = stack.enter_context(Broker()), stack.enter_context(Postgres())
        github = await stack.enter_async_context(GitHub.running(folder / "github"))
        url = postgres.create_database(database)
        here = await stack.enter_async_context(
            instance(folder, github, database_url=url, queue_url=broker.amqp_url, proxy="none")
        )
        ada = github.user("ada")
        shop = await github.create_repository(
            "acme/shop", {"Dockerfile": "FROM x\n"}, collaborators={"ada": "write"}
        )
        await here.start("serve")
        await here.ready()
        github.install_app(shop)
        credential = Credential.parse(await here.credential("one"))
        queue = await stack.enter_async_context(
            RabbitWorker.connected(broker.amqp_url, credential, "blacktree", wait=wait)
        )
        work = await shop.clone(folder / "work", ada)
        store = await stack.enter_async_context(Store.opened(url))
        yield Serving(here, store, queue, work)


class AtWork:
    """The worker `one`. A job that is in `kept` goes on until `end`."""

    def __init__(self, queue: RabbitWorker) -> None:
        self.queue = queue
        self.kept: dict[str, asyncio.Event] = {}  # each with: it is granted

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[AtWork]:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._beats()),
                *(group.create_task(self._takes()) for _ in range(SLOTS)),
            ]
            yield self
            for task in tasks:
                task.cancel()

    async def end(self, job: str) -> None:
        """A job that was kept."""
        del self.kept[job]
        await self._ended(job, 1)

    async def _beats(self) -> None:
        while True:
            running = [
                AttemptRef(job=job, attempt=1) for job, granted in self.kept.items() if granted.is_set()
            ]
            beat = Heartbeat(
                worker="one", instance="i", pool="default", slots=SLOTS, address="127.0.0.1",
                software="bench", attempts=running,
            )  # fmt: skip
            await self.queue.request(beat, 10)
            await asyncio.sleep(5)

    async def _takes(self) -> None:
        while True:
            taken = await self.queue.take("default")
            asked = Claim(
                job=taken.offer.job, worker="one", instance="i", nonce=uuid4().hex, public_key=Keys().public
            )
            answer = await self.queue.request(asked, 10)
            await taken.ack()
            if not isinstance(answer, Grant):
                continue
            if answer.job in self.kept:
                self.kept[answer.job].set()
            else:
                await self._ended(answer.job, answer.attempt)

    async def _ended(self, job: str, attempt: int) -> None:
        await self.queue.tell(Finished(job=job, attempt=attempt, at=now(), result=_FAILURE, steps=[]))
