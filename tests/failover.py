"""How others take over, and in how many seconds: `bench/failover.py` measures it, a test bounds it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx2

from config.trust import trusted
from tests.github import GitHub, WorkTree
from tests.instance import Instance, Process, instance
from tests.parts.balancer import Balancer
from tests.parts.broker import Broker
from tests.parts.engine import BASE_IMAGE
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from tests.parts.relay import Relay
from tests.parts.waiting import free_port

LEASE = 6.0  # seconds
_LOOK = 0.02  # seconds between two looks of whoever waits
_PING = 0.05  # seconds between two webhooks
_DOCKERFILE = f"""\
FROM {BASE_IMAGE}
RUN echo {{unique}} && sleep 60
EXPOSE 8080
CMD ["httpd", "-f", "-p", "8080"]
"""


@dataclass
class Failover:
    """Two bots behind a balancer, and two workers, each with a line of its own to the broker."""

    fleet: Instance
    balancer: Balancer
    work: WorkTree
    bots: list[Process]
    workers: dict[str, Process]
    lines: dict[str, Relay]

    async def worker_killed(self) -> float:
        """Seconds from the kill of a worker that builds to its job's start on the other one."""
        job, worker = await self._building()
        begun = time.monotonic()
        await self.workers[worker].kill()
        await self._until_another(job, worker)
        seconds = time.monotonic() - begun
        await self.workers[worker].start()
        await self._until_there(worker)
        return seconds

    async def worker_cut_off(self) -> float:
        """Seconds from when nothing of a worker that builds passes any more to the start on the other one."""
        job, worker = await self._building()
        begun = time.monotonic()
        self.lines[worker].hold()
        await self._until_another(job, worker)
        seconds = time.monotonic() - begun
        self.lines[worker].release()
        await self._until_there(worker)
        return seconds

    async def bot_killed(self, answers: Counter[int]) -> float:
        """Seconds from the kill of the bot that leads until the other one does; counts webhooks' answers."""
        leader, other = sorted(self.bots, key=_led_at, reverse=True)
        before = _led_at(other)
        async with self._pinged(answers):
            begun = time.monotonic()
            await leader.kill()
            await _until(lambda: _led_at(other) > before, "the other bot to lead")
            seconds = time.monotonic() - begun
        told = leader.said().count('"bot started"')
        await leader.start()
        await _until(lambda: leader.said().count('"bot started"') > told, "the killed bot to be back")
        return seconds

    async def _building(self) -> tuple[str, str]:
        """A build that lasts, on a worker that knows it; whatever was built before is superseded."""
        await self.work.commit({"Dockerfile": _DOCKERFILE.format(unique=uuid4().hex)})
        await self.work.push(branch="main")
        sha = await self.work.head()

        async def look() -> tuple[str, str] | None:
            for job in await self.fleet.jobs():
                if job["kind"] == "build" and job["sha"] == sha and job["state"] == "running":
                    return str(job["id"]), str(job["worker"])
            return None

        return await self.fleet.until(look, "the build to run")

    async def _until_another(self, job: str, worker: str) -> None:
        async def look() -> bool:
            seen = await self.fleet.api(f"/jobs/{job}")
            return seen["state"] == "running" and seen["worker"] not in (None, worker)

        await _until(look, f"another worker than {worker} to have job {job}")

    async def _until_there(self, worker: str) -> None:
        """It has a free slot, and the bot has heard so just now."""
        begun = datetime.now(UTC).isoformat()

        async def look() -> bool:
            rows = await self.fleet.api("/workers")
            heard = [row for row in rows if row["name"] == worker and row["seen_at"].replace("Z", "") > begun]
            return any(row["running"] == 0 and not row["stopped"] for row in heard)

        await _until(look, f"worker {worker} to be back")

    @contextlib.asynccontextmanager
    async def _pinged(self, answers: Counter[int]) -> AsyncIterator[None]:
        """Meanwhile GitHub sends webhooks to the balancer; their answers are counted, 0 for none."""

        async def ping() -> None:
            async with httpx2.AsyncClient(verify=trusted(), timeout=10) as http:
                while True:
                    answers[await self._webhook(http)] += 1
                    await asyncio.sleep(_PING)

        pinging = [asyncio.create_task(ping()) for _ in range(4)]
        try:
            await asyncio.sleep(10 * _PING)
            yield
            await asyncio.sleep(10 * _PING)
        finally:
            for task in pinging:
                task.cancel()
            await asyncio.gather(*pinging, return_exceptions=True)

    async def _webhook(self, http: httpx2.AsyncClient) -> int:
        secret = self.fleet.settings["BLACKTREE_GITHUB_WEBHOOK_SECRET"]
        body = json.dumps({"zen": "Keep it logically awesome."}).encode()
        headers = {
            "content-type": "application/json",
            "x-github-event": "ping",
            "x-github-delivery": str(uuid4()),
            "x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}",
        }
        try:
            answer = await http.post(f"{self.balancer.url}/webhooks/github", content=body, headers=headers)
        except httpx2.HTTPError:
            return 0
        return answer.status_code


def _led_at(bot: Process) -> str:
    """When it began to lead last, by its log."""
    led = (line for line in bot.said().splitlines() if '"event": "leading"' in line)
    return max((str(json.loads(line)["timestamp"]) for line in led), default="")


async def _until(look: Callable[[], bool | Awaitable[bool]], what: str, limit: float = 120) -> None:
    """Look often until it holds; what is away meanwhile says nothing."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx2.HTTPError):
            seen = look()
            if seen if isinstance(seen, bool) else await seen:
                return
        await asyncio.sleep(_LOOK)
    raise AssertionError(f"waited {limit:g} s in vain for {what}")


@contextlib.asynccontextmanager
async def failover(
    folder: Path, github: GitHub, broker: Broker, registry: Registry, postgres: Postgres, name: str
) -> AsyncIterator[Failover]:
    """All of them, at work; `name` is that of the database and of the queues."""
    ports = [free_port(), free_port()]
    async with contextlib.AsyncExitStack() as stack:
        balancer = stack.enter_context(Balancer(ports))
        settings = {
            "database_url": postgres.create_database(name),
            "queue_url": broker.amqp_url,
            "queue_prefix": name,
            "secret_key": "of all bots of this instance",
            "api_token": "t" * 40,
            "registry": f"{registry.address}/acme",
            "registry_username": registry.username,
            "registry_password": registry.password,
            "lease": str(LEASE),
            "log_format": "json",
            "proxy": "none",
            "worker_slots": "1",
            "attempts": "20",
        }
        ada = github.user("ada")
        shop = await github.create_repository(
            "acme/shop", {"Dockerfile": f"FROM {BASE_IMAGE}\n"}, collaborators={"ada": "write"}
        )
        fleet = await stack.enter_async_context(instance(folder, github, **settings))
        fleet.url = balancer.url
        github.app.hook_url = f"{balancer.url}/webhooks/github"
        lines = {one: await stack.enter_async_context(Relay(broker.port).ready()) for one in ("one", "two")}
        bots = [await fleet.start("serve", f"bot-{port}", port=str(port)) for port in ports]
        await fleet.ready()
        workers = {}
        for one, line in lines.items():
            await line.open()
            url = f"amqp://guest:guest@127.0.0.1:{line.port}/"
            workers[one] = await fleet.start("worker", one, queue_url=url)
        github.install_app(shop)
        work = await shop.clone(folder / "work", ada)
        here = Failover(fleet, balancer, work, bots, workers, lines)
        for one in workers:
            await here._until_there(one)
        yield here
