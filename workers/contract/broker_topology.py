"""What Blacktree keeps at the broker, and with which settings. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workers.contract.words import VERSION

Arguments = dict[str, Any]

# Deliveries of one message before the broker buries it; the default of RabbitMQ 4.0 and later, and none
# before. https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
_DELIVERIES = 20
_LOG_BYTES = 256 * 1024 * 1024
# Of one shell: base64 and seals included, more than a worker that keeps its word has on the way.
SHELL: Arguments = {"x-max-length-bytes": 1024 * 1024}


@dataclass(frozen=True)
class Topology:
    """The names under one prefix. The exchange is direct and durable, all queues but a worker's own for its
    orders are durable quorum queues. All is the bot's to declare: a worker needs no right to.

    A dead letter goes through the default exchange to `dead`. Only what must not get lost has dead letters:
    requests expire, and the oldest log lines give way, which a broker would count as dead letters too.
    https://www.rabbitmq.com/docs/dlx
    """

    prefix: str

    @property
    def events(self) -> str:
        return f"{self.prefix}.events"

    @property
    def logs(self) -> str:
        return f"{self.prefix}.logs"

    @property
    def requests(self) -> str:
        return f"{self.prefix}.requests"

    @property
    def dead(self) -> str:
        return f"{self.prefix}.dead"

    @property
    def told(self) -> str:
        """The exchange that workers publish to, and nothing else."""
        return f"{self.prefix}.told"

    def orders(self, worker: str) -> str:
        """The queue of a worker's connection, there while that is: what it is ordered goes by the name."""
        return f"{self.prefix}.orders.{worker}"

    def shell(self, shell: str) -> str:
        """The bot's own queue of one shell, there while its connection is: what a worker says of it.

        It is bound to `told` by its name, so no worker needs another right for it.
        """
        return f"{self.prefix}.shell.{shell}"

    def user(self, worker: str) -> str:
        """A worker's own login."""
        return f"{self.prefix}.{worker}"

    def jobs(self, pool: str) -> str:
        """The queue of a line's offers. A worker of another version takes from another one.

        What it cannot read it would reject, and a dead offer ends its job.
        """
        return f"{self.prefix}.jobs-{VERSION}.{pool}"

    @property
    def standing(self) -> tuple[str, ...]:
        """The queues that are there whatever the pools are."""
        return *self.bound, self.dead

    @property
    def bound(self) -> tuple[str, ...]:
        """The queues that workers publish to, each by its own name."""
        return self.events, self.logs, self.requests

    def arguments(self, queue: str) -> Arguments:
        """What `queue` is declared with."""
        quorum: Arguments = {"x-queue-type": "quorum"}
        if queue in (self.requests, self.dead):
            return quorum
        limited = {**quorum, "x-delivery-limit": _DELIVERIES}
        if queue == self.logs:
            return {**limited, "x-max-length-bytes": _LOG_BYTES, "x-overflow": "drop-head"}
        return {**limited, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}
