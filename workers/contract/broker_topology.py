"""What Blacktree keeps at the broker, and with which settings. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Arguments = dict[str, Any]

# Deliveries of one message before the broker buries it; the default of RabbitMQ 4.0 and later, and none
# before. https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
_DELIVERIES = 20
_LOG_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Topology:
    """The names under one prefix. All queues are durable quorum queues, the exchange is direct and durable.

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
    def orders(self) -> str:
        """The exchange; each worker binds a queue of its connection by its own name."""
        return f"{self.prefix}.orders"

    def jobs(self, pool: str) -> str:
        return f"{self.prefix}.jobs.{pool}"

    @property
    def standing(self) -> tuple[str, ...]:
        """The queues that are there whatever the pools are."""
        return self.events, self.logs, self.requests, self.dead

    def arguments(self, queue: str) -> Arguments:
        """What `queue` is declared with."""
        quorum: Arguments = {"x-queue-type": "quorum"}
        if queue in (self.requests, self.dead):
            return quorum
        limited = {**quorum, "x-delivery-limit": _DELIVERIES}
        if queue == self.logs:
            return {**limited, "x-max-length-bytes": _LOG_BYTES, "x-overflow": "drop-head"}
        return {**limited, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": self.dead}
