"""Pure: each worker's login at RabbitMQ, and the little that it may do there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from bot.store.tables import Enrolled
from workers.contract.broker_topology import Topology


def definitions(workers: Iterable[Enrolled], prefix: str, vhost: str) -> dict[str, Any]:
    """What `rabbitmqctl import_definitions` and the management API take; it has hashes, no passwords.

    https://www.rabbitmq.com/docs/definitions
    """
    topology = Topology(prefix)
    known = [worker for worker in workers if worker.revoked_at is None]
    return {
        "users": [
            {
                "name": topology.user(worker.name),
                "password_hash": worker.broker_hash,
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for worker in known
        ],
        "permissions": [
            {
                "user": topology.user(worker.name),
                "vhost": vhost,
                "configure": _only(topology.orders(worker.name)),
                "write": _only(topology.told),
                "read": _only(topology.orders(worker.name), topology.jobs(worker.pool), lines=True),
            }
            for worker in known
        ],
    }


def _only(*names: str, lines: bool = False) -> str:
    """These names and no other; with `lines` the last is a pool's, and the lines of its labels too."""
    labels = r"(\+[a-z0-9_.+-]+)?" if lines else ""
    return f"^({'|'.join(map(re.escape, names))}{labels})$"
