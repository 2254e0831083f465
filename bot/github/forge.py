"""What Blacktree asks of GitHub, by name. Every method raises GitHubError."""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx2

from bot.github.auth import AppAuth, Auth, Renewing, TokenAuth
from bot.github.calls import MOST, Calls
from bot.github.checks import Checks
from bot.github.client import Client, GitHubRefused
from bot.github.deliveries import Deliveries
from bot.github.kept import Kept
from bot.github.people import OAuthClient, People
from bot.github.telling import Telling
from bot.metrics.instruments import Instruments
from bot.store.tables import Repository
from config.errors import ConfigError
from config.settings import Settings
from config.trust import trusted

_TIMEOUT = 30.0  # seconds for one request
# Those that hang are in nobody's way. GitHub takes as many of one account at a time:
# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
_MOST_REQUESTS = 100
_TELLS = ("pending", "success", "failure")  # of several checks of one name the first of these


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
    locked: bool = False  # its conversation: we may not comment


class GitHub:
    """One account at one GitHub."""

    def __init__(self, client: Client, auth: Auth, git_url: str, people: People) -> None:
        self._calls = Calls(client, auth)
        self.people = people
        self._git_url = git_url
        self.telling = Telling(self._calls)
        self.checks = Checks(self._calls)
        self.deliveries = Deliveries(self._calls)

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, settings: Settings, instruments: Instruments | None = None
    ) -> AsyncIterator[GitHub]:
        """GitHub as `settings` say. Raises ConfigError where they hold no credentials."""
        limits = httpx2.Limits(max_connections=_MOST_REQUESTS, max_keepalive_connections=20)
        async with httpx2.AsyncClient(
            verify=trusted(), timeout=_TIMEOUT, limits=limits, follow_redirects=False
        ) as http:
            client = Renewing(http, settings.github_api_url, instruments)
            auth = _auth(client, settings)
            people = People(http, Calls(client, auth), _oauth(settings))
            yield cls(client, auth, settings.github_url, people)

    def for_one_decision(self) -> GitHub:
        """The same, but each thing is asked once, and what was said is kept."""
        same = copy.copy(self)
        same._calls = Kept(self._calls)
        return same

    async def check(self) -> str:
        """Who we are and where, for people."""
        return f"{await self._calls.auth.login()} at {self._calls.client.base_url}"

    async def missing_permissions(self) -> list[str]:
        """What we may not do and need to, in GitHub's words."""
        return await self._calls.auth.missing()

    async def login(self) -> str:
        """The login that our comments are written by."""
        return await self._calls.auth.login()

    def clone_url(self, repository: Repository) -> str:
        """Where git finds the repository, without credentials."""
        return f"{self._git_url}/{repository.full_name}.git"

    async def clone_token(self, repository: Repository) -> str:
        return await self._calls.auth.clone_token(repository.full_name, repository.installation_id)

    async def repository(self, full_name: str, installation_id: int | None = None) -> dict[str, Any]:
        token = await self._calls.auth.token(full_name, installation_id)
        answer: dict[str, Any] = await self._calls.client.getitem(f"/repos/{full_name}", oauth_token=token)
        return answer

    async def file(self, repository: Repository, path: str, sha: str) -> str | None:
        """A file's text at a commit, None where there is none."""
        try:
            answer = await self._calls.get(repository, f"/contents/{quote(path)}{{?ref}}", ref=sha)
        except GitHubRefused as error:
            if error.status == 404:
                return None
            raise
        try:
            if answer["encoding"] == "none":  # its content is not sent, as of any over 1 MB
                raise ConfigError(f"{path}: is too large a file")
            return base64.b64decode(answer["content"]).decode()
        except (KeyError, TypeError, binascii.Error, UnicodeDecodeError):
            raise ConfigError(f"{path}: is not a text file") from None

    async def names(self, repository: Repository, sha: str) -> frozenset[str]:
        """The names of the files and folders at the top of a commit."""
        try:
            answer = await self._calls.get(repository, "/contents{?ref}", ref=sha)
        except GitHubRefused as error:
            if error.status == 404:  # nothing is in it
                return frozenset()
            raise
        return frozenset(one["name"] for one in answer)

    async def hook_addresses(self) -> list[str]:
        """The networks that webhooks come from; none where this GitHub does not tell."""
        return list((await self._calls.client.getitem("/meta")).get("hooks") or ())

    async def commit_message(self, repository: Repository, sha: str) -> str:
        return str((await self._calls.get(repository, f"/commits/{sha}"))["commit"]["message"])

    async def pull(self, repository: Repository, number: int) -> PullHead:
        answer = await self._calls.get(repository, f"/pulls/{number}")
        return pull_head(answer)

    async def permission(self, repository: Repository, login: str) -> str:
        """admin, write, read or none; `author_association` would not tell."""
        try:
            answer = await self._calls.get(repository, "/collaborators/{login}/permission", login=login)
        except GitHubRefused as error:
            if error.status == 404:
                return "none"
            raise
        return str(answer["permission"])

    async def branch_head(self, repository: Repository, branch: str) -> str | None:
        """The commit that a branch is at, None where there is no such branch."""
        try:
            answer = await self._calls.get(repository, "/branches/{branch}", branch=branch)
        except GitHubRefused as error:
            if error.status == 404:
                return None
            raise
        return str(answer["commit"]["sha"])

    async def tree(self, repository: Repository, sha: str) -> str:
        """The git tree of a commit."""
        return str((await self._calls.get(repository, f"/commits/{sha}"))["commit"]["tree"]["sha"])

    async def approvers(self, repository: Repository, number: int, sha: str) -> list[str]:
        """Who approves of a pull request's commit `sha`: each reviewer's newest word that says yes or no."""
        newest: dict[str, str] = {}
        for review in await self._calls.get(
            repository, f"/pulls/{number}/reviews{{?per_page}}", per_page="100"
        ):
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
        statuses = await self._calls.get(repository, f"/commits/{sha}/status{{?per_page}}", per_page="100")
        runs = await self._calls.get(repository, f"/commits/{sha}/check-runs{{?per_page}}", per_page="100")
        said = {status["context"]: status["state"] for status in statuses["statuses"]}
        return said | {run["name"]: _said(run) for run in runs["check_runs"]}

    async def checks_of(self, repository: Repository, sha: str) -> tuple[dict[str, str], bool]:
        """What others' check runs say of a commit: success, pending or failure by name; whether all is over.

        Each App that may has a suite of each commit, also if it never begins one. What a push and its pull
        request both run has one name twice: it is pending while one of them is, then one success is enough.
        """
        suites = self._calls.pages(repository, f"/commits/{sha}/check-suites?per_page={MOST}", "check_suites")
        begun = [suite async for suite in suites if suite["latest_check_runs_count"]]
        runs = self._calls.pages(repository, f"/commits/{sha}/check-runs?per_page={MOST}", "check_runs")
        theirs = [run async for run in runs]
        login = await self._calls.auth.login()
        begun, theirs = ([one for one in found if not _by(one, login)] for found in (begun, theirs))
        over = all(suite["status"] == "completed" for suite in begun)
        said: dict[str, str] = {}
        for run in theirs:
            said[run["name"]] = min(said.get(run["name"], "failure"), _said(run), key=_TELLS.index)
        return said, over

    async def required_contexts(self, repository: Repository, branch: str) -> list[str]:
        """What a branch's protection requires to be green; none where it has none or we may not look."""
        answer = await self._calls.get(repository, "/branches/{branch}", branch=branch)
        protection = (answer.get("protection") or {}).get("required_status_checks") or {}
        named = set(protection.get("contexts") or ())
        for rule in await self._calls.get(repository, "/rules/branches/{branch}", branch=branch):
            if rule["type"] == "required_status_checks":
                checks = (rule.get("parameters") or {}).get("required_status_checks") or ()
                named |= {check["context"] for check in checks}
        return sorted(named)

    async def behind(self, repository: Repository, base: str, sha: str) -> int:
        """How many commits of `base` are not in `sha`."""
        basehead = f"{quote(base, safe='')}...{sha}"
        return int((await self._calls.get(repository, f"/compare/{basehead}"))["behind_by"])

    async def contains(self, repository: Repository, base: str, sha: str) -> bool:
        """Whether the commit `base` has `sha` in its history; not, where GitHub does not know `sha`."""
        try:
            answer = await self._calls.get(repository, f"/compare/{base}...{sha}")
        except GitHubRefused as error:
            if error.status == 404:
                return False
            raise
        return int(answer["ahead_by"]) == 0

    async def changed_files(self, repository: Repository, base: str, sha: str) -> list[str] | None:
        """The files that differ between two commits, None where GitHub does not tell all of them."""
        try:
            answer = await self._calls.get(repository, f"/compare/{quote(base, safe='')}...{sha}")
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
            return str(
                (await self._calls.get(repository, f"/commits/{quote(f'tags/{tag}', safe='')}"))["sha"]
            )
        except GitHubRefused as error:
            if error.status in (404, 422):
                return None
            raise

    async def reacted(self, repository: Repository, comment_id: int, content: str) -> set[str]:
        """Who reacted to a comment with `content`."""
        path = f"/issues/comments/{comment_id}/reactions{{?content,per_page}}"
        found = await self._calls.get(repository, path, content=content, per_page="100")
        return {(reaction["user"] or {}).get("login", "") for reaction in found}

    async def about(self, repository: Repository) -> dict[str, Any]:
        """The repository in GitHub's own form."""
        answer: dict[str, Any] = await self._calls.get(repository, "")
        return answer

    async def commit(self, repository: Repository, sha: str) -> dict[str, Any]:
        """A commit in GitHub's own form."""
        answer: dict[str, Any] = await self._calls.get(repository, f"/commits/{sha}")
        return answer

    async def branch_heads(self, repository: Repository) -> dict[str, str]:
        """The commit of every branch."""
        found = self._calls.pages(repository, f"/branches?per_page={MOST}")
        return {branch["name"]: branch["commit"]["sha"] async for branch in found}

    async def open_pulls(self, repository: Repository) -> dict[int, str]:
        """The head of every open pull request."""
        found = self._calls.pages(repository, f"/pulls?state=open&per_page={MOST}")
        return {pull["number"]: pull["head"]["sha"] async for pull in found}

    async def pull_payload(self, repository: Repository, number: int) -> dict[str, Any]:
        """A pull request in GitHub's own form."""
        answer: dict[str, Any] = await self._calls.get(repository, f"/pulls/{number}")
        return answer


def _by(check: dict[str, Any], login: str) -> bool:
    """Whether that App made a check run, or has that suite."""
    return f"{(check['app'] or {}).get('slug')}[bot]" == login


def _said(run: dict[str, Any]) -> str:
    good = run["conclusion"] in ("success", "neutral", "skipped")
    return "pending" if run["status"] != "completed" else "success" if good else "failure"


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
        locked=bool(pull.get("locked")),
    )


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


def _oauth(settings: Settings) -> OAuthClient | None:
    """What signs people in, where the App's client is known."""
    if not (settings.github_client_id and settings.github_client_secret):
        return None
    secret = settings.github_client_secret.get_secret_value()
    return OAuthClient(settings.github_url, settings.github_client_id, secret)
