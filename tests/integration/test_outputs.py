"""What containers print, followed from outside while everything around them goes and comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import cast

from tests.instance import BLACKTREE
from tests.integration.conftest import PAGE, Developer, dockerfile
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.registry import Registry

DEPLOY = "blacktree/deploy (production)"
FILE = "environments: {production: {stability: 0, drain: 0, grace: 20}}\n"
COUNTING = dockerfile().replace(
    'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]',
    'CMD ["sh", "-c", "httpd -p 8080 -h /www; n=0; trap \'echo bye; exit\' TERM;'
    ' while true; do echo n=$n; n=$((n+1)); sleep 0.1; done"]',
)


async def test_who_follows_misses_no_line_over_a_deploy_and_the_loss_of_bot_and_worker(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry) as fleet:
        bot = await fleet.start("serve")
        await fleet.ready()
        worker = await fleet.start("worker", "one")
        sha = await developer.push({"Dockerfile": COUNTING, ".blacktree.yml": FILE, PAGE: "old"})
        await developer.status(sha, DEPLOY, "success")
        environ = dict(fleet._where_the_bot_runs())
        command = [str(BLACKTREE), "logs", "acme/shop", "production", "-f", "--url", fleet.url]
        follower = await asyncio.create_subprocess_exec(*command, env=environ, stdout=PIPE, stderr=PIPE)
        told, lines = cast(asyncio.StreamReader, follower.stdout), list[str]()

        async def read() -> None:
            while line := await told.readline():
                lines.append(line.decode().strip())

        reading = asyncio.create_task(read())

        async def grown() -> None:
            known = len(lines)

            async def look() -> bool:
                return len(lines) > known + 5

            await fleet.until(look, "more lines to come")

        try:
            await grown()
            await bot.kill()
            bot = await fleet.start("serve")
            await grown()
            sha = await developer.push({PAGE: "new"})
            await developer.status(sha, DEPLOY, "success")
            await worker.kill()
            worker = await fleet.start("worker", "one")

            async def new() -> bool:
                return any(line.endswith("web 1 | bye") for line in lines) and " web 2 | n=" in lines[-1]

            await fleet.until(new, "the new release to be heard alone")
            await grown()
        finally:
            with contextlib.suppress(ProcessLookupError):
                follower.terminate()
            await follower.wait()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    for release in (1, 2):
        counted = [found[1] for line in lines if (found := re.search(rf" web {release} \| n=(\d+)$", line))]
        numbers = [int(number) for number in counted]
        assert numbers == list(range(len(numbers))), "each line once, in its order, and none is missing"
        assert len(numbers) > 10
