"""What a project goes through: pushed, previewed, promoted, backed up, restored, merged, rolled back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx2

from tests.apps.app import App
from tests.github import Repository
from tests.instance import Instance
from tests.integration.conftest import Developer

_LIMIT = 1800.0  # seconds for a build, on a machine that has other things to do
_SERVICE = "db"
_PAGE = 4000  # characters of a page that is told
_LOG = 30000  # of the log of what failed: a compiler says much after it has said why


@dataclass(frozen=True)
class Story:
    """One project in one instance. Raises AssertionError where something is not as it is claimed."""

    app: App
    blacktree: Instance
    developer: Developer
    say: Callable[[str], None]

    @property
    def _repository(self) -> Repository:
        return self.developer.repository

    async def tell(self) -> None:
        """All of it."""
        await self._staged()
        pull = await self._previewed()
        await self._promoted(pull)
        await self._restored()
        await self._merged(pull)
        await self._gone_back()
        await self._over(pull)

    async def _staged(self) -> None:
        sha = await self.developer.work.head()
        await self._live(sha, "staging")
        await self._begun("staging")
        await self._shows("staging", self._old)
        self.say("pushed, built, migrated: staging shows it")

    async def _previewed(self) -> int:
        change = self.app.change
        files: dict[str, str | None] = {change.file: change.done(self.developer.work.path)}
        number, head = await self.developer.open_pull(files)
        await self._live(head, "preview")
        preview = f"pr-{number}"
        await self._begun(preview)
        await self._shows(preview, self._new)
        await self._shows("staging", self._old)
        await self._make(preview, "previewed")
        assert "previewed" in await self._kept(preview)
        assert "previewed" not in await self._kept("staging")
        self.say("a pull request: its preview shows the change, and has a database of its own")
        return number

    async def _promoted(self, pull: int) -> None:
        builds = await self._builds()
        await self._promote(pull)
        await self._begun("production")
        await self._shows("production", self._old)
        assert await self._builds() == builds, "a promotion built something"
        images = [(await self._place(name))["release"]["image"] for name in ("staging", "production")]
        assert images[0] == images[1]
        await self._make("production", "first")
        assert await self._kept("production") >= {"first"}
        await self._worked()
        self.say("promoted: production shows it, in the image that was staged, and its worker works")

    async def _restored(self) -> None:
        place = await self._place("production")
        await self._order(f"{place['id']}/backups", {"service": _SERVICE})
        await self._make("production", "second")
        assert await self._kept("production") >= {"first", "second"}
        await self._order(f"{place['id']}/restore", {"confirm": "production", "service": _SERVICE})
        kept = await self._kept("production")
        assert "first" in kept
        assert "second" not in kept
        self.say("backed up and restored: what came after the backup is gone, what was before is there")

    async def _merged(self, pull: int) -> None:
        sha = await self.developer.github.merge_pull(self._repository, pull, self.developer.user)
        await self._live(sha, "staging")
        await self._shows("staging", self._new)
        builds = await self._builds()  # what a pull request built is not what its merge brings out
        place = await self._place("production")
        await self._order(f"{place['id']}/promote", {"from": "staging"})
        await self._shows("production", self._new)
        assert await self._builds() == builds, "a promotion built something"
        assert "first" in await self._kept("production")
        self.say("merged: staging follows; promoted: production shows the change, and has its data")

    async def _gone_back(self) -> None:
        place = await self._place("production")
        await self._order(f"{place['id']}/rollback", {})
        await self._shows("production", self._old)
        assert "first" in await self._kept("production")
        self.say("rolled back: production shows what was before, and has its data")

    async def _over(self, pull: int) -> None:
        async def gone() -> bool:
            return not (await self._place(f"pr-{pull}"))["containers"]

        await self.blacktree.until(gone, "the preview to be gone", _LIMIT)
        self.say("the preview is gone")

    @property
    def _old(self) -> str:
        return self.app.change.old

    @property
    def _new(self) -> str:
        return self.app.change.new

    async def _live(self, sha: str, environment: str) -> None:
        context = f"blacktree/deploy ({environment})"

        async def over() -> bool:
            return self.developer.state(sha, context) in ("success", "failure", "error")

        await self.blacktree.until(over, f"{context} of {sha}", _LIMIT)
        if self.developer.state(sha, context) != "success":
            raise AssertionError(f"{context}: {await self._why()}")

    async def _why(self) -> str:
        failed = [job for job in await self.blacktree.jobs() if job["state"] == "failed"]
        logs = [(await self.blacktree.text(f"/jobs/{job['id']}/log"))[-_LOG:] for job in failed[-1:]]
        told = self.developer.github.latest_statuses(self._repository, await self.developer.work.head())
        return "\n".join([*(f"{name}: {one.state} {one.description}" for name, one in told.items()), *logs])

    async def _promote(self, pull: int) -> None:
        """For the first time: an environment that never was has no address in the API."""
        developer = self.developer
        await developer.github.comment(self._repository, pull, developer.user, "/promote staging production")

        async def live() -> bool:
            places = {place["name"]: place for place in await self.blacktree.api("/environments")}
            return "production" in places and bool(places["production"]["url"])

        await self.blacktree.until(live, "production to be live", _LIMIT)

    async def _begun(self, environment: str) -> None:
        if self.app.first:
            place = await self._place(environment)
            await self._order(f"{place['id']}/tasks/{self.app.first}/runs", {})

    async def _order(self, path: str, body: dict[str, Any]) -> None:
        """Ask the API for something, and wait until all that it makes is over, and well."""
        async with httpx2.AsyncClient(timeout=60) as http:
            address = f"{self.blacktree.url}/api/v1/environments/{path}"
            answer = await http.post(address, json=body, headers=self.blacktree.headers)
        assert answer.status_code == httpx2.codes.ACCEPTED, f"{path}: {answer.status_code} {answer.text}"
        run = answer.json()["run"]

        async def over() -> set[str]:
            states = {job["state"] for job in (await self.blacktree.api(f"/runs/{run}"))["jobs"]}
            return states if states and states <= {"succeeded", "failed", "cancelled"} else set()

        states = await self.blacktree.until(over, path, _LIMIT)
        if states != {"succeeded"}:
            raise AssertionError(f"{path}: {states}: {await self._why()}")

    async def _place(self, environment: str) -> dict[str, Any]:
        places = await self.blacktree.api("/environments")
        found: dict[str, Any] = next(place for place in places if place["name"] == environment)
        return found

    async def _builds(self) -> int:
        """How many there were, also those that took what was there."""
        return len([job for job in await self.blacktree.jobs() if job["kind"] == "build"])

    async def _at(self, environment: str) -> httpx2.AsyncClient:
        """Somebody who visits it."""
        return httpx2.AsyncClient(base_url=(await self._place(environment))["url"], timeout=60)

    async def _shows(self, environment: str, text: str) -> None:
        async with await self._at(environment) as http:
            page = await self.app.shows(http)
        other = self._new if text == self._old else self._old
        assert other not in page, f"{environment} at {http.base_url} shows {other!r}"
        assert text in page, f"{environment} at {http.base_url} does not show {text!r}, but:\n{page[:_PAGE]}"

    async def _make(self, environment: str, name: str) -> None:
        async with await self._at(environment) as http:
            await self.app.make(http, name)

    async def _kept(self, environment: str) -> set[str]:
        async with await self._at(environment) as http:
            return await self.app.kept(http)

    async def _worked(self) -> None:
        async def look() -> bool:
            async with await self._at("production") as http:
                return await self.app.worked(http)

        await self.blacktree.until(look, "the worker to have done something", 120)
