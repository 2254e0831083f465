"""A real Redis as a service: left alone by the next release, backed up, put back while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from tests.workers.bot import Bot
from tests.workers.deploy import database
from tests.workers.deploy.database import Stock
from tests.workers.deploy.test_deploy import SERVE, spec
from tests.workers.deploy.test_services import PLACE, service, standing
from workers.contract.backups import BackupResult, BackupSpec, Depot, Kept, RestoreSpec
from workers.contract.messages import Finished, Limits, Succeeded
from workers.contract.services import Services

pytestmark = [pytest.mark.usefixtures("worker"), pytest.mark.timeout(900)]
# As docs/services.md says.
DUMP = ["redis-cli", "--rdb", "-"]
RESTORE = ["sh", "-c", """set -e
d=$(mktemp -d); cat > "$d/dump.rdb"
redis-server --port 6380 --dir "$d" --save '' --daemonize yes > /dev/null
redis-cli replicaof 127.0.0.1 6380
until redis-cli info replication | grep -q 'master_link_status:up'; do sleep 0.2; done
redis-cli replicaof no one
redis-cli -p 6380 shutdown nosave; rm -r "$d"
"""]  # fmt: skip


@pytest.fixture(scope="module")
def made(engine: Engine, registry: Registry, base: str) -> Iterator[Stock]:
    image = partial(database.redis_image, engine, base)
    with database.stocked(engine, registry, image, "stock/redis:1", database.START_REDIS, 6379) as stock:
        yield stock


async def test_a_cache_stays_with_what_it_has_and_is_put_back_as_it_was_backed_up(
    bot: Bot, engine: Engine, name: str, tmp_path: Path, made: Stock
) -> None:
    bot.credentials = made.store.credentials({})
    cache = service(
        made.pushed, volumes={f"{name}.db.data": "/data"}, generated=[], timeout=150,
        limits=Limits(memory=256 * 2**20, cpus=1, pids=100),
        healthcheck={"command": ["redis-cli", "ping"], "interval": 0.3},
    )  # fmt: skip

    async def deployed(release: str, *command: str) -> Finished:
        told = Services(place=PLACE, wanted=[cache])
        ask = ["redis-cli", "-h", "db", *command]
        what = spec(made.app, release, SERVE.format(release), services=told, release_command=ask)
        return await bot.run(release, what)

    def succeeded(job: str, ended: Finished) -> BackupResult | None:
        assert isinstance(ended.result, Succeeded), bot.log(job)
        return ended.result.backup

    def asked(*command: str) -> str:
        said: Any = standing(engine, name).exec_run(["redis-cli", *command])
        return str(said.output.decode().strip())

    succeeded("r1", await deployed("r1", "set", "cart", "42"))
    before = standing(engine, name)
    succeeded("r2", await deployed("r2", "get", "cart"))
    assert "42" in bot.log("r2")
    assert standing(engine, name).id == before.id

    what: dict[str, Any] = {"place": PLACE, "service": "db", "depot": Depot(url=str(tmp_path))}
    taken = succeeded("b1", await bot.run("b1", BackupSpec(command=DUMP, name="one.gz", **what)))
    assert taken is not None
    assert (asked("set", "cart", "7"), asked("set", "more", "8")) == ("OK", "OK")
    kept = Kept(name="one.gz", sha256=taken.sha256, size=taken.size)

    succeeded("b2", await bot.run("b2", RestoreSpec(command=RESTORE, kept=kept, **what)))

    assert (asked("get", "cart"), asked("get", "more")) == ("42", "")
    assert asked("set", "cart", "43") == "OK", "it takes what is written again"
    assert standing(engine, name).id == before.id
