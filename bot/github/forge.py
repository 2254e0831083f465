"""What Blacktree asks of GitHub, by name. Every method raises GitHubError."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2

from bot.github.auth import AppAuth, Auth, Renewing, TokenAuth
from bot.github.client import Client, GitHubRefused
from bot.store.tables import Repository
from config.errors import ConfigError
from config.settings import Settings

_TIMEOUT = 30.0  # seconds for one request
_PAGE = 100  # the most that GitHub gives at once


@dataclass(frozen=True)
class PullHead:
    """A pull request as GitHub has it now."""

    number: int
    sha: str
    ref: str
    base: str
    fork: bool
    open: bool
    author: str = ""
    draft: bool = False
    merged: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comment:
    """A comment that GitHub has taken; `updated_at` is by GitHub's clock."""

    id: int
    updated_at: datetime


@dataclass(frozen=True)
class Webhook:
    """Where GitHub keeps the deliveries of a hook: the App's, or one of a repository's own."""

    path: str
    repository: Repository | None = None  # None for the App's


@dataclass(frozen=True)
class Attempt:
    """One attempt of GitHub's to bring a delivery; `at` is by GitHub's clock."""

    id: int
    guid: str
    at: datetime
    ok: bool
    again: bool  # somebody asked for this one
    event: str
    action: str | None


class GitHub:
    """One account at one GitHub."""

    def __init__(self, client: Client, auth: Auth, git_url: str) -> None:
        self._client = client
        self._auth = auth
        self._git_url = git_url

    @classmethod
    @asynccontextmanager
    async def connected(cls, settings: Settings) -> AsyncIterator[GitHub]:
        """GitHub as `settings` say. Raises ConfigError where they hold no credentials."""
        limits = httpx2.Limits(max_connections=20)
        async with httpx2.AsyncClient(timeout=_TIMEOUT, limits=limits, follow_redirects=False) as http:
            client = Renewing(http, settings.github_api_url)
            yield cls(client, _auth(client, settings), settings.github_url)

    async def check(self) -> str:
        """Who we are and where, for people."""
        return f"{await self._auth.login()} at {self._client.base_url}"

    async def missing_permissions(self) -> list[str]:
        """What we may not do and need to, in GitHub's words."""
        return await self._auth.missing()

    async def login(self) -> str:
        """The login that our comments are written by."""
        return await self._auth.login()

    def clone_url(self, repository: Repository) -> str:
        """Where git finds the repository, without credentials."""
        return f"{self._git_url}/{repository.full_name}.git"

    async def clone_token(self, repository: Repository) -> str:
        return await self._auth.clone_token(repository.full_name, repository.installation_id)

    async def repository(self, full_name: str, installation_id: int | None = None) -> dict[str, Any]:
        token = await self._auth.token(full_name, installation_id)
        answer: dict[str, Any] = await self._client.getitem(f"/repos/{full_name}", oauth_token=token)
        return answer

    async def file(self, repository: Repository, path: str, sha: str) -> str | None:
        """A file's text at a commit, None where there is none."""
        try:
            answer = await self._get(repository, f"/contents/{path}{{?ref}}", ref=sha)
        except GitHubRefused as error:
            if error.status == 404:
                return None
            raise
        try:
            return base64.b64decode(answer["content"]).decode()
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"{path}: is not a text file") from None

    async def commit_message(self, repository: Repository, sha: str) -> str:
        return str((await self._get(repository, f"/commits/{sha}"))["commit"]["message"])

    async def pull(self, repository: Repository, number: int) -> PullHead:
        answer = await self._get(repository, f"/pulls/{number}")
        return pull_head(answer)

    async def permission(self, repository: Repository, login: str) -> str:
        """admin, write, read or none; `author_association` would not tell."""
        try:
            answer = await self._get(repository, "/collaborators/{login}/permission", login=login)
        except GitHubRefused as error:
            if error.status == 404:
                return "none"
            raise
        return str(answer["permission"])

    async def branch_head(self, repository: Repository, branch: str) -> str | None:
        """The commit that a branch is at, None where there is no such branch."""
        try:
            answer = await self._get(repository, "/branches/{branch}", branch=branch)
        except GitHubRefused as error:
            if error.status == 404:
                return None
            raise
        return str(answer["commit"]["sha"])

    async def tree(self, repository: Repository, sha: str) -> str:
        """The git tree of a commit."""
        return str((await self._get(repository, f"/commits/{sha}"))["commit"]["tree"]["sha"])

    async def approvers(self, repository: Repository, number: int, sha: str) -> list[str]:
        """Who approves of a pull request's commit `sha`: each reviewer's newest word that says yes or no."""
        newest: dict[str, str] = {}
        for review in await self._get(repository, f"/pulls/{number}/reviews{{?per_page}}", per_page="100"):
            state, who = review["state"], (review["user"] or {}).get("login", "")
            if state in ("CHANGES_REQUESTED", "DISMISSED") or (
                state == "APPROVED" and review["commit_id"] == sha
            ):
                newest[who] = state
        if "CHANGES_REQUESTED" in newest.values():
            return []
        return sorted(who for who, state in newest.items() if state == "APPROVED" and who)

    async def contexts(self, repository: Repository, sha: str) -> dict[str, str]:
        """What statuses and check runs say of a commit: success, pending or failure for each name."""
        statuses = await self._get(repository, f"/commits/{sha}/status{{?per_page}}", per_page="100")
        runs = await self._get(repository, f"/commits/{sha}/check-runs{{?per_page}}", per_page="100")
        said = {status["context"]: status["state"] for status in statuses["statuses"]}
        for run in runs["check_runs"]:
            good = run["conclusion"] in ("success", "neutral", "skipped")
            said[run["name"]] = (
                "pending" if run["status"] != "completed" else "success" if good else "failure"
            )
        return said

    async def required_contexts(self, repository: Repository, branch: str) -> list[str]:
        """What a branch's protection requires to be green; none where it has none or we may not look."""
        answer = await self._get(repository, "/branches/{branch}", branch=branch)
        protection = (answer.get("protection") or {}).get("required_status_checks") or {}
        named = set(protection.get("contexts") or ())
        for rule in await self._get(repository, "/rules/branches/{branch}", branch=branch):
            if rule["type"] == "required_status_checks":
                checks = (rule.get("parameters") or {}).get("required_status_checks") or ()
                named |= {check["context"] for check in checks}
        return sorted(named)

    async def behind(self, repository: Repository, base: str, sha: str) -> int:
        """How many commits of `base` are not in `sha`."""
        basehead = f"{quote(base, safe='')}...{sha}"
        return int((await self._get(repository, f"/compare/{basehead}"))["behind_by"])

    async def changed_files(self, repository: Repository, base: str, sha: str) -> list[str] | None:
        """The files that differ between two commits, None where GitHub does not tell all of them."""
        try:
            answer = await self._get(repository, f"/compare/{quote(base, safe='')}...{sha}")
        except GitHubRefused as error:
            if error.status == 404:
                return None
            raise
        files = answer.get("files") or []
        # https://docs.github.com/rest/commits/commits#compare-two-commits: 300 files at most.
        if len(files) >= 300:
            return None
        return [name for file in files for name in (file["filename"], file.get("previous_filename")) if name]

    async def tag_commit(self, repository: Repository, tag: str) -> str | None:
        """The commit that a tag names, None where there is no such tag."""
        try:
            return str((await self._get(repository, f"/commits/{quote(f'tags/{tag}', safe='')}"))["sha"])
        except GitHubRefused as error:
            if error.status in (404, 422):
                return None
            raise

    async def update_branch(self, repository: Repository, number: int, sha: str) -> None:
        """Merge the base into a pull request's branch, if its head is still `sha`."""
        token = await self._token(repository)
        url = f"/repos/{repository.full_name}/pulls/{number}/update-branch"
        await self._client.put(url, data={"expected_head_sha": sha}, oauth_token=token)

    async def reacted(self, repository: Repository, comment_id: int, content: str) -> set[str]:
        """Who reacted to a comment with `content`."""
        path = f"/issues/comments/{comment_id}/reactions{{?content,per_page}}"
        found = await self._get(repository, path, content=content, per_page="100")
        return {(reaction["user"] or {}).get("login", "") for reaction in found}

    async def set_status(self, repository: Repository, sha: str, body: dict[str, str]) -> None:
        await self._post(repository, f"/statuses/{sha}", body)

    async def react(self, repository: Repository, comment_id: int, content: str) -> None:
        await self._post(repository, f"/issues/comments/{comment_id}/reactions", {"content": content})

    async def find_comment(self, repository: Repository, number: int, marker: str) -> int | None:
        """The id of our own comment on an issue that starts with `marker`."""
        token, login = await self._token(repository), await self.login()
        url = f"/repos/{repository.full_name}/issues/{number}/comments?per_page={_PAGE}"
        async for comment in self._client.getiter(url, oauth_token=token):
            ours = (comment["user"] or {}).get("login") == login
            if ours and str(comment["body"]).startswith(marker):
                return int(comment["id"])
        return None

    async def create_comment(self, repository: Repository, number: int, body: str) -> Comment:
        return _comment(await self._post(repository, f"/issues/{number}/comments", {"body": body}))

    async def edit_comment(self, repository: Repository, comment_id: int, body: str) -> Comment:
        token = await self._token(repository)
        url = f"/repos/{repository.full_name}/issues/comments/{comment_id}"
        return _comment(await self._client.patch(url, data={"body": body}, oauth_token=token))

    async def find_deployment(
        self, repository: Repository, sha: str, environment: str, job: str
    ) -> int | None:
        """The id of the deployment that we made for `job`, if an answer of GitHub's got lost."""
        found = await self._get(
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
        return int((await self._post(repository, "/deployments", body))["id"])

    async def set_deployment_status(
        self, repository: Repository, deployment_id: int, body: dict[str, Any]
    ) -> None:
        await self._post(repository, f"/deployments/{deployment_id}/statuses", body)

    async def about(self, repository: Repository) -> dict[str, Any]:
        """The repository in GitHub's own form."""
        answer: dict[str, Any] = await self._get(repository, "")
        return answer

    async def commit(self, repository: Repository, sha: str) -> dict[str, Any]:
        """A commit in GitHub's own form."""
        answer: dict[str, Any] = await self._get(repository, f"/commits/{sha}")
        return answer

    async def branch_heads(self, repository: Repository) -> dict[str, str]:
        """The commit of every branch."""
        url = f"/repos/{repository.full_name}/branches?per_page={_PAGE}"
        token = await self._token(repository)
        found = self._client.getiter(url, oauth_token=token)
        return {branch["name"]: branch["commit"]["sha"] async for branch in found}

    async def open_pulls(self, repository: Repository) -> dict[int, str]:
        """The head of every open pull request."""
        url = f"/repos/{repository.full_name}/pulls?state=open&per_page={_PAGE}"
        token = await self._token(repository)
        found = self._client.getiter(url, oauth_token=token)
        return {pull["number"]: pull["head"]["sha"] async for pull in found}

    async def pull_payload(self, repository: Repository, number: int) -> dict[str, Any]:
        """A pull request in GitHub's own form."""
        answer: dict[str, Any] = await self._get(repository, f"/pulls/{number}")
        return answer

    def app_hook(self) -> Webhook | None:
        """The App's hook, None where we are no App."""
        return Webhook("/app/hook") if isinstance(self._auth, AppAuth) else None

    async def hooks_to(self, repository: Repository, url: str) -> list[Webhook]:
        """The repository's own hooks that bring their deliveries to `url`."""
        path = f"/repos/{repository.full_name}/hooks"
        hooks = await self._get(repository, f"/hooks?per_page={_PAGE}")
        ours = [hook["id"] for hook in hooks if (hook.get("config") or {}).get("url") == url]
        return [Webhook(f"{path}/{number}", repository) for number in ours]

    async def failed_attempts(self, hook: Webhook, since: datetime) -> list[Attempt]:
        """The attempts since then that failed, newest first. An older Enterprise gives the others too."""
        url = f"{hook.path}/deliveries?status=failure&per_page={_PAGE}"
        found = []
        async for item in self._client.getiter(url, **await self._of_hook(hook)):
            attempt = _attempt(item)
            if attempt.at < since:
                break
            found.append(attempt)
        return found

    async def redeliver(self, hook: Webhook, attempt: int) -> None:
        url = f"{hook.path}/deliveries/{attempt}/attempts"
        await self._client.post(url, data=b"", **await self._of_hook(hook))

    async def delivered(self, hook: Webhook, attempt: int) -> Any:
        """The payload of a delivery."""
        url = f"{hook.path}/deliveries/{attempt}"
        return (await self._client.getitem(url, **await self._of_hook(hook)))["request"]["payload"]

    async def _of_hook(self, hook: Webhook) -> dict[str, Any]:
        """The credentials for a hook: only the App itself may ask about its own."""
        if hook.repository is not None:
            return {"oauth_token": await self._token(hook.repository)}
        assert isinstance(self._auth, AppAuth), "only an App has a hook of its own"  # noqa: S101
        return {"jwt": self._auth.jwt()}

    async def _token(self, repository: Repository) -> str:
        return await self._auth.token(repository.full_name, repository.installation_id)

    async def _get(self, repository: Repository, path: str, **variables: str) -> Any:
        token = await self._token(repository)
        return await self._client.getitem(
            f"/repos/{repository.full_name}{path}", variables, oauth_token=token
        )

    async def _post(self, repository: Repository, path: str, body: dict[str, Any]) -> Any:
        token = await self._token(repository)
        return await self._client.post(f"/repos/{repository.full_name}{path}", data=body, oauth_token=token)


def pull_head(pull: dict[str, Any]) -> PullHead:
    """A pull request from GitHub's form of it; the head's repository is null where a fork was deleted."""
    head, base = pull["head"], pull["base"]
    return PullHead(
        number=pull["number"],
        sha=head["sha"],
        ref=head["ref"],
        base=base["ref"],
        fork=head["repo"] is None or head["repo"]["id"] != base["repo"]["id"],
        open=pull["state"] == "open",
        author=(pull.get("user") or {}).get("login", ""),
        draft=bool(pull.get("draft")),
        merged=bool(pull.get("merged")),
        labels=tuple(label["name"] for label in pull.get("labels") or ()),
    )


def _attempt(item: dict[str, Any]) -> Attempt:
    return Attempt(
        id=int(item["id"]),
        guid=str(item["guid"]),
        at=datetime.fromisoformat(item["delivered_at"]),
        ok=200 <= int(item["status_code"]) < 300,
        again=bool(item["redelivery"]),
        event=str(item["event"]),
        action=item["action"],
    )


def _comment(answer: dict[str, Any]) -> Comment:
    return Comment(int(answer["id"]), datetime.fromisoformat(answer["updated_at"]))


def _auth(client: Renewing, settings: Settings) -> Auth:
    if settings.github_token:
        return TokenAuth(client, settings.github_token.get_secret_value())
    if settings.github_app_id and settings.github_app_private_key:
        key = settings.github_app_private_key.get_secret_value()
        app = AppAuth(client, settings.github_app_id, key)
        client.renewed = app.renewed
        return app
    raise ConfigError(
        "GitHub credentials are missing: set BLACKTREE_GITHUB_TOKEN, or BLACKTREE_GITHUB_APP_ID with "
        "BLACKTREE_GITHUB_APP_PRIVATE_KEY_FILE"
    )
