"""Deploys of an app of three processes, one after the other, while visitors ask all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import zip_longest

import httpx2
from docker.models.containers import Container

from tests.instance import Instance
from tests.integration.conftest import Developer
from tests.parts.engine import Engine
from tests.zero.shop import JOURNAL, files
from tests.zero.visitors import Visitor, visitors

_DEPLOY = "blacktree/deploy (production)"
_PUSHED = (
    10  # each tenth deploy is of a commit that is new; the others go between two releases that are there
)
_VISITORS = 4
_PROCESSES = 3
_TOLD = 20  # requests that failed, of each deploy
_LIMIT = 600  # seconds for one deploy, on a machine that has other things to do


@dataclass(frozen=True)
class Told:
    """What came of it."""

    versions: list[str]  # that were deployed, in this order
    visitors: list[Visitor]
    journal: list[str]  # what the workers wrote, oldest first

    @property
    def asked(self) -> int:
        return sum(visitor.asked for visitor in self.visitors)

    @property
    def failed(self) -> list[str]:
        """Requests that were not answered by whom they were meant for."""
        return [one for visitor in self.visitors for one in visitor.failed]

    @property
    def mixed(self) -> list[str]:
        """What a visitor saw who did not see each release once, whole, and none again that was over."""
        return [
            f"deployed: {self.versions}; seen: {visitor.seen}"
            for visitor in self.visitors
            if visitor.seen != self.versions
        ]

    @property
    def cut_off(self) -> str:
        """Where in the journal a worker did not come to its end by itself, or ran beside another one."""
        wanted = [f"{what} {one}" for one in ["1", *self.versions] for what in ("begun", "told", "ended")]
        for number, (line, other) in enumerate(
            zip_longest(self.journal, wanted[:-2])
        ):  # the last one works still
            if line != other:
                return f"line {number + 1} of the journal is {line!r} instead of {other!r}"
        return ""


async def proven(
    developer: Developer,
    blacktree: Instance,
    engine: Engine,
    deploys: int,
    say: Callable[[str], None] = lambda _: None,
) -> Told:
    """What came of so many deploys; `say` is told how far they are."""
    commits = {version: await _pushed(developer, version) for version in ("1", "2")}
    versions, known = ["2"], 0
    place = (await blacktree.api("/environments"))[0]
    async with visitors(place["url"], _VISITORS) as them:
        for number in range(deploys + 1):
            if number and number % _PUSHED == 0:
                versions.append(str(len(commits) + 1))
                commits[versions[-1]] = await _pushed(developer, versions[-1])
            elif number:
                versions.append(next(one for one in list(commits)[-2:] if one != versions[-1]))
                await _deployed_again(blacktree, place["id"], commits[versions[-1]])
            await blacktree.until(_all_see(them, versions[-1]), f"all visitors to see {versions[-1]}", _LIMIT)
            so_far = Told(versions, them, [])
            say(f"deploy {number} of {deploys}: {len(so_far.failed)} of {so_far.asked} requests failed")
            if len(so_far.failed) > known:  # at once: who ends this early wants to know why all the same
                say("\n".join(so_far.failed[:_TOLD]))
            known = len(so_far.failed)
        await blacktree.until(_drained(engine), "all but the last release to be gone", _LIMIT)
    return Told(versions, them, await asyncio.to_thread(_journal, engine))


async def _pushed(developer: Developer, version: str) -> str:
    sha = await developer.push(files(version), message=version)
    await developer.status(sha, _DEPLOY, "success", limit=_LIMIT)
    return sha


async def _deployed_again(blacktree: Instance, place: int, sha: str) -> None:
    """Returns when the deploy of the release of a commit that was live before is over."""
    path = f"{blacktree.url}/api/v1/environments/{place}/rollback"
    async with httpx2.AsyncClient(timeout=60) as http:
        answer = await http.post(path, json={"release": sha}, headers=blacktree.headers)
    answer.raise_for_status()
    run = answer.json()["run"]

    async def over() -> bool:
        states = {job["state"] for job in (await blacktree.api(f"/runs/{run}"))["jobs"]}
        assert not states & {"failed", "cancelled"}, f"run {run}: {states}"
        return states == {"succeeded"}

    await blacktree.until(over, f"{sha} to be live again", _LIMIT)


def _all_see(them: list[Visitor], version: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return all(visitor.seen[-1:] == [version] for visitor in them)

    return look


def _drained(engine: Engine) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return len(await asyncio.to_thread(_containers, engine)) == _PROCESSES

    return look


def _containers(engine: Engine) -> list[Container]:
    return engine.containers("io.blacktree.repository=acme/shop")


def _journal(engine: Engine) -> list[str]:
    """Read where one of the processes has it."""
    code, said = _containers(engine)[0].exec_run(["cat", JOURNAL])
    assert code == 0, said
    assert isinstance(said, bytes)
    return said.decode().splitlines()
