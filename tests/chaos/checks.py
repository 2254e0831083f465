"""What must be true when it is over, looked at from outside: GitHub, HTTP, the engine, the folders."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx2
from docker.models.containers import Container

from config.trust import trusted
from tests.chaos.people import People
from tests.chaos.town import Town

_OVER = ("succeeded", "failed", "cancelled")
_TOLD = {"succeeded": {"success"}, "failed": {"failure", "error"}, "cancelled": {"error"}}
_BOT_LABEL = "io.blacktree.repository=acme/shop"
_SETTLED = 3.0  # seconds that nothing changes for
_TRIES = 12
_PAGE = 100  # runs that the API gives at once, at most
_LOOK = 1.0  # seconds between two looks, each of which costs everybody something


class Checks:
    """Each gives sentences about what is wrong; none where all is well."""

    def __init__(self, town: Town, people: People) -> None:
        self._town = town
        self._people = people
        self._runs: list[dict[str, Any]] = []
        self._jobs: list[dict[str, Any]] = []  # of these, oldest run first
        self._violated = len(self._violations())  # by whoever had the description before

    @property
    def runs(self) -> int:
        return len(self._runs)

    async def all(self) -> list[str]:
        self._runs = await self._known_runs()
        ids = sorted(int(run["id"]) for run in self._runs)
        self._jobs = [job for one in ids for job in (await self._asked(f"/runs/{one}"))["jobs"]]
        wrong = [sentence async for sentence in self._lost()]
        wrong += [
            *self._statuses(),
            *self._comments(),
            *self._told_right(),
            *self._logs(),
            *await self._left(),
        ]
        wrong += [
            f"GitHub's description has it otherwise: {one}" for one in self._violations()[self._violated :]
        ]
        return wrong + [sentence async for sentence in self._serving()]

    def _violations(self) -> list[str]:
        contract = self._town.github.contract
        return contract.violations if contract else []

    async def quiet(self, limit: float) -> str:
        """Wait until nothing goes on any more; what still does after `limit` seconds."""
        begun = asyncio.get_running_loop().time()
        since, before = begun, ""
        while (at := asyncio.get_running_loop().time()) - begun < limit:
            going = await self._going()
            if going or before:
                since = at
            before = going
            if at - since >= _SETTLED:
                return ""
            await asyncio.sleep(_LOOK)
        return before or "it goes on and off"

    async def _going(self) -> str:
        try:
            if pending := next(self._pending(), ""):  # which costs nobody anything to see
                return f"pending: {pending}"
            await self._town.github.settled(timeout=5)
            runs = await self._known_runs()
            open_jobs = [job for run in runs for job in run["jobs"] if job["state"] not in _OVER]
            if open_jobs:
                several = (f"{job['id']} {job['state']}" for job in open_jobs[:5])
                return f"jobs: {', '.join(several)}"
            for delivery in await self._town.fleet.api("/deliveries?limit=100"):
                if delivery["state"] == "received":
                    return f"delivery {delivery['guid']} ({delivery['event']}): {delivery['reason']}"
            return next((f"pending: {one}" for one in self._pending()), "")
        except (httpx2.HTTPError, TimeoutError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"

    async def _known_runs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        before = ""
        while True:
            page = await self._asked(f"/runs?limit={_PAGE}{before}")
            found += page
            if len(page) < _PAGE:
                return found
            before = f"&before={page[-1]['id']}"

    async def _asked(self, path: str) -> Any:
        """What the API answers, asked again while it is slow: others work here too."""
        for _ in range(_TRIES):
            with suppress(httpx2.TimeoutException):
                return await self._town.fleet.api(path)
        return await self._town.fleet.api(path)

    def _pending(self) -> Iterator[str]:
        town = self._town
        for sha in town.pages:
            for context, status in town.github.latest_statuses(town.shop, sha).items():
                if status.state == "pending":
                    yield f"{sha[:7]} {context}: {status.description}"

    async def _lost(self) -> AsyncIterator[str]:
        """What GitHub told was decided, each once; a push that another one overtook needs no run."""
        town = self._town
        for guid in {one.guid: None for one in town.github.deliveries}:
            try:
                row = await self._asked(f"/deliveries/{guid}")
            except httpx2.HTTPStatusError:
                yield f"delivery {guid} is not known"
                continue
            if row["state"] != "processed":
                yield f"delivery {guid} ({row['event']}) is {row['state']}: {row['reason']}"
        known = {run["sha"] for run in self._runs}
        for branch in ("main", *self._people.opened.values()):
            sha = await town.work.git("rev-parse", branch)
            if sha in town.pages and sha not in known:
                yield f"no run of the head of {branch} ({sha[:7]})"
        causes = [(run["cause"], run["sha"], run.get("pull_number")) for run in self._runs]
        for one in {cause for cause in causes if cause[0] == "push" and causes.count(cause) > 1}:
            yield f"several runs of one push: {one}"

    def _statuses(self) -> Iterator[str]:
        yield from (f"pending: {one}" for one in self._pending())

    def _comments(self) -> Iterator[str]:
        town = self._town
        for number in (*self._people.opened, *self._people.closed):
            ours = [one for one in town.github.comments(town.shop, number) if one.by_app]
            theirs = [run["cause"] for run in self._runs if run["pull_number"] == number]
            ran = any(cause != "pull_request closed" for cause in theirs)
            if len(ours) > 1 or (ran and not ours):
                yield f"#{number} has {len(ours)} comments of ours"

    def _told_right(self) -> Iterator[str]:
        """Whether each context's last status is what the job says that ended last."""
        newest: dict[tuple[str, str], dict[str, Any]] = {}
        for job in self._jobs:
            key = (job["sha"], job["context"])
            if job["context"] and (key not in newest or job["ended_at"] > newest[key]["ended_at"]):
                newest[key] = job
        for (sha, context), job in newest.items():
            status = self._town.github.latest_statuses(self._town.shop, sha).get(context)
            if status is None or status.state not in _TOLD[job["state"]]:
                said = status.state if status else "nothing"
                yield f"{sha[:7]} {context}: GitHub shows {said}, job {job['id']} is {job['state']}"

    async def _serving(self) -> AsyncIterator[str]:
        """What an environment serves is what its newest successful deploy brought."""
        deployed = [job for job in self._jobs if (job["kind"], job["state"]) == ("deploy", "succeeded")]
        deploys = {job["environment"]: job["sha"] for job in deployed}
        for environment in await self._asked("/environments"):
            name = environment["name"]
            if environment["stopped"] or name not in deploys:
                continue
            sha = deploys[name]
            expected = self._town.pages.get(sha, "first")
            shown = await _visited(environment["url"])
            if shown != expected:
                yield f"{name} serves {shown!r}, and should {expected!r} ({sha[:7]})"

    def _logs(self) -> Iterator[str]:
        for log in sorted(self._town.fleet.folder.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if "Traceback" in line:
                    event = json.loads(line)["event"] if line.startswith("{") else line[:80]
                    yield f"a traceback in {log.name}: {event}: {line.rstrip()[-300:]}"

    async def _left(self) -> list[str]:
        """Nothing but what serves: containers, folders of attempts, images of attempts."""
        wrong = []
        here = await _containers(self._town, _BOT_LABEL)
        serving = {row["name"] for row in await self._asked("/environments") if not row["stopped"]}
        if len(here) != len(serving):
            names = sorted(str(one.name) for one in here)
            wrong.append(f"{len(here)} containers for {sorted(serving)}: {names}")
        folders = [str(one) for one in self._town.fleet.folder.glob("worker-*/work/*")]
        wrong += [f"a folder is left: {one}" for one in folders]
        every = await _containers(self._town)
        known = {one.id for one in here}
        wrong += [f"a container is left: {one.name}" for one in every if one.id not in known]
        wrong += [
            f"worker {row['name']} runs {row['running']}"
            for row in await self._asked("/workers")
            if row["running"]
        ]
        return wrong


async def gone(town: Town, environments: int, limit: float) -> float:
    """Seconds until only so many containers are there; `limit` if they stay."""
    begun = asyncio.get_running_loop().time()
    while (at := asyncio.get_running_loop().time() - begun) < limit:
        here = await _containers(town, _BOT_LABEL)
        if len(here) <= environments:
            return at
        await asyncio.sleep(_LOOK)
    return limit


async def _containers(town: Town, *labels: str) -> list[Container]:
    filters: dict[str, str | list[str] | bool] = {"label": list(labels)}
    listed = town.engine.containers.list
    return await asyncio.to_thread(lambda: listed(all=True, ignore_removed=True, filters=filters))


async def _visited(url: str) -> str:
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        try:
            return (await http.get(url)).text.strip()
        except httpx2.HTTPError as error:
            return type(error).__name__
