"""Which provider a pool has: the one place that knows all of them."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from bot.fleet.scaling.provider import Provider
from config.pools import Pool
from config.settings import Settings

_ENGINE = "unix:///var/run/docker.sock"


def of(pool: Pool, settings: Settings, instance: str, environ: Mapping[str, str]) -> Provider:
    """The provider of a pool of this instance of Blacktree. Raises ConfigError."""
    if pool.kind == "containers":
        from bot.fleet.scaling.containers import Containers

        return Containers(pool, instance, pool.engines or (environ.get("DOCKER_HOST") or _ENGINE,), environ)
    if pool.kind == "ec2":
        from bot.fleet.scaling.ec2 import Group

        return Group(pool, settings)
    from bot.fleet.scaling.processes import Processes

    return Processes(settings.data_dir / "pools" / pool.name, socket.gethostname(), environ)
