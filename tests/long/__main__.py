"""python -m tests.long [--minutes 120] [--lease 60]"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.github import GitHub
from tests.instance import instance
from tests.integration.conftest import PAGE, Developer
from tests.long.proof import LIMIT, Scene, dockerfile, environment, proven
from tests.parts.broker import Broker
from tests.parts.dockerd import engine_of_its_own
from tests.parts.engine import Engine
from tests.parts.registry import Registry


class AsItComes(Broker):
    """Without what tests of other things hurry it by; its port and folders alone are ours."""

    def environment(self) -> Mapping[str, str]:
        ours = dict(super().environment())
        del ours["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
        return ours


def main() -> int:
    """Prove it with an engine and a broker of its own; the exit code is 0 if all was right."""
    parser = argparse.ArgumentParser(prog="python -m tests.long", description=__doc__)
    parser.add_argument("--minutes", type=int, default=120, help="how long the build lasts")
    parser.add_argument("--lease", type=int, default=60, help="seconds; as the bot's own, if not named")
    options = parser.parse_args()
    minutes = options.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))  # and removes what it made
    with engine_of_its_own("8g") as engine, AsItComes() as broker, Registry() as registry:
        wrong = asyncio.run(_proven(engine, broker, registry, minutes, options.lease))
    for sentence in wrong:
        print(f"  WRONG {sentence}")
    print(
        f"a build of {minutes} minutes at RabbitMQ's defaults: {'not as it should' if wrong else 'all right'}"
    )
    return 1 if wrong else 0


async def _proven(engine: Engine, broker: Broker, registry: Registry, minutes: int, lease: int) -> list[str]:
    folder = Path(tempfile.mkdtemp(prefix="blacktree-long-"))
    files: dict[str, str | None] = {
        "Dockerfile": dockerfile(minutes),
        PAGE: "long",
        ".blacktree.yml": environment(minutes),
    }
    settings = {
        "queue_url": broker.amqp_url,
        "registry": f"{registry.address}/acme",
        "registry_username": registry.username,
        "registry_password": registry.password,
        "proxy": "none",
        "lease": str(lease),
        "job_timeout": str(minutes * 60 + 1800),
    }
    wrong = ["it came to no end"]
    try:
        async with GitHub.running(folder / "github") as github, instance(folder, github, **settings) as here:
            ada = github.user("ada")
            shop = await github.create_repository("acme/shop", {"README": ""}, collaborators={"ada": "write"})
            await here.start("serve")
            await here.ready(LIMIT)
            worker = await here.start("worker", "long")
            github.install_app(shop)
            developer = Developer(github, ada, shop, await shop.clone(folder / "work", ada))
            wrong = await proven(Scene(developer, here, worker, broker, engine), files, minutes)
        return wrong
    finally:
        if wrong:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
