"""Check runs: what an App that may write them says of a commit. Every method raises GitHubError.

https://docs.github.com/rest/checks/runs
"""

from __future__ import annotations

from typing import Any

from bot.github.calls import Calls
from bot.store.tables import Repository


class Checks:
    """Those that are ours."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def may(self, repository: Repository) -> bool:
        """Whether our App may write them there; a plain token never may."""
        return await self._calls.auth.grants(
            repository.full_name, repository.installation_id, "checks", "write"
        )

    async def find(
        self, repository: Repository, sha: str, name: str, mark: str, known: int | None
    ) -> int | None:
        """The id of a run of ours beside the `known` one, if an answer got lost.

        It has that name, and this `external_id`, or has not ended: who began it never learned of it.
        """
        found = await self._calls.get(
            repository,
            "/commits/{sha}/check-runs{?check_name,per_page}",
            sha=sha,
            check_name=name,
            per_page="100",
        )
        login = await self._calls.auth.login()
        ours = [
            run
            for run in found["check_runs"]
            if run["id"] != known and f"{(run['app'] or {}).get('slug')}[bot]" == login
        ]
        same = (run["id"] for run in ours if run["external_id"] == mark)
        begun = (run["id"] for run in ours if run["status"] != "completed")
        return next(same, next(begun, None))

    async def create(self, repository: Repository, body: dict[str, Any]) -> int:
        return int((await self._calls.post(repository, "/check-runs", body))["id"])

    async def update(self, repository: Repository, check_id: int, body: dict[str, Any]) -> None:
        moved = {key: value for key, value in body.items() if key != "head_sha"}  # which is not to be changed
        await self._calls.patch(repository, f"/check-runs/{check_id}", moved)

    async def annotated(self, repository: Repository, check_id: int) -> int:
        """How many annotations it has."""
        run = await self._calls.get(repository, f"/check-runs/{check_id}")
        return int(run["output"]["annotations_count"])
