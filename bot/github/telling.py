"""What we tell GitHub: statuses, reactions, comments, deployments. Every method raises GitHubError."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.github.calls import MOST, Calls
from bot.store.tables import Repository


@dataclass(frozen=True)
class Comment:
    """A comment that GitHub has taken; `updated_at` is by GitHub's clock."""

    id: int
    updated_at: datetime


class Telling:
    """What is written to a repository."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def set_status(self, repository: Repository, sha: str, body: dict[str, str]) -> datetime:
        """Say something of a commit; since when it stands there, by GitHub's clock."""
        answer = await self._calls.post(repository, f"/statuses/{sha}", body)
        return datetime.fromisoformat(answer["created_at"])

    async def update_branch(self, repository: Repository, number: int, sha: str) -> None:
        """Merge the base into a pull request's branch, if its head is still `sha`."""
        await self._calls.put(repository, f"/pulls/{number}/update-branch", {"expected_head_sha": sha})

    async def react(self, repository: Repository, comment_id: int, content: str) -> None:
        await self._calls.post(repository, f"/issues/comments/{comment_id}/reactions", {"content": content})

    async def find_comment(self, repository: Repository, number: int, marker: str) -> int | None:
        """The id of our own comment on an issue that starts with `marker`."""
        login = await self._calls.auth.login()
        async for comment in self._calls.pages(repository, f"/issues/{number}/comments?per_page={MOST}"):
            ours = (comment["user"] or {}).get("login") == login
            if ours and str(comment["body"]).startswith(marker):
                return int(comment["id"])
        return None

    async def create_comment(self, repository: Repository, number: int, body: str) -> Comment:
        return _comment(await self._calls.post(repository, f"/issues/{number}/comments", {"body": body}))

    async def edit_comment(self, repository: Repository, comment_id: int, body: str) -> Comment:
        return _comment(await self._calls.patch(repository, f"/issues/comments/{comment_id}", {"body": body}))

    async def find_deployment(
        self, repository: Repository, sha: str, environment: str, job: str
    ) -> int | None:
        """The id of the deployment that we made for `job`, if an answer of GitHub's got lost."""
        found = await self._calls.get(
            repository,
            "/deployments{?sha,environment,per_page}",
            sha=sha,
            environment=environment,
            per_page="100",
        )
        matching = (
            item["id"]
            for item in found
            if isinstance(item["payload"], dict) and item["payload"].get("job") == job
        )
        return next(matching, None)

    async def create_deployment(self, repository: Repository, body: dict[str, Any]) -> int:
        return int((await self._calls.post(repository, "/deployments", body))["id"])

    async def set_deployment_status(
        self, repository: Repository, deployment_id: int, body: dict[str, Any]
    ) -> None:
        await self._calls.post(repository, f"/deployments/{deployment_id}/statuses", body)


def _comment(answer: dict[str, Any]) -> Comment:
    return Comment(int(answer["id"]), datetime.fromisoformat(answer["updated_at"]))
