"""The stand-in as tests and the demo hold it in their hands."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from config.trust import trusted
from tests.github import manifest, oauth, rest
from tests.github.acts import Acts
from tests.github.administration import Administration
from tests.github.announce import ping
from tests.github.api.statuses import newest
from tests.github.backend import serve_git
from tests.github.contract import Contract
from tests.github.faults import Faults
from tests.github.feed import Subscription
from tests.github.keys import key_pair
from tests.github.model import (
    App,
    Comment,
    Delivery,
    Deployment,
    Hook,
    Json,
    Permission,
    Reaction,
    Repository,
    Status,
    User,
    random_token,
)
from tests.github.server import listen, serving
from tests.github.world import LoggedRequest, World

T = TypeVar("T")
PATIENCE = 60.0  # of who shares two processors with all the other tests
# Shorter than a bot keeps a connection that is idle (uvicorn: 5 s): none is ended just when it is used.
IDLE = httpx2.Limits(keepalive_expiry=2)


class GitHub(Acts, Administration):
    """`url` is the base of pages and clones, `api_url` that of the API, as on GitHub Enterprise Server."""

    def __init__(self, world: World, client: httpx2.AsyncClient, contract: Contract | None) -> None:
        self.world = world
        self.contract = contract
        self._client = client

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, root: Path, *, host: str = "127.0.0.1", port: int = 0, contract: Contract | None = None
    ) -> AsyncIterator["GitHub"]:
        """A server in the running loop, with its repositories below `root`."""
        await asyncio.to_thread(key_pair)
        await asyncio.to_thread(root.mkdir, parents=True, exist_ok=True)
        with contextlib.closing(listen(host, port)) as listener:
            world = World(root, f"http://{host}:{listener.getsockname()[1]}")
            async with httpx2.AsyncClient(
                verify=trusted(), trust_env=False, timeout=PATIENCE, limits=IDLE
            ) as client:
                github = cls(world, client, contract)
                if contract:
                    world.post.check = contract.check_webhook
                async with serving(github.serve, listener), world.post.open(client):
                    yield github

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        path = scope["path"]
        if path.startswith(rest.PREFIX + "/"):
            await rest.serve_api(self.world, self.contract, scope, receive, send)
            return
        if ".git/" not in path:
            await (await self._page(Request(scope, receive)))(scope, receive, send)
            return
        fault = self.faults.take(scope["method"], path)
        if fault:
            await rest.hold(fault)
        if fault and fault.drop:
            await rest.drop(receive, send)
        elif fault and fault.status:
            body = fault.body if isinstance(fault.body, bytes) else str(fault.body or "")
            await Response(body, fault.status, dict(fault.headers))(scope, receive, send)
        else:
            await serve_git(self.world, scope, receive, send)

    async def _page(self, request: Request) -> Response:
        """Of the web's pages there are few: the form that makes an App, and what signs people in."""
        if (request.method, request.url.path) == ("GET", oauth.AUTHORIZE):
            return oauth.authorize(self.world, request)
        if (request.method, request.url.path) == ("POST", oauth.TOKEN):
            fault = self.faults.take("POST", oauth.TOKEN)
            if fault and fault.status:
                return Response(str(fault.body or ""), fault.status)
            return await oauth.exchange(self.world, request)
        if request.method == "POST" and manifest.FORM.fullmatch(request.url.path):
            return await manifest.serve_form(self.world, request)
        return Response("Not Found", 404)

    @property
    def url(self) -> str:
        return self.world.url

    @property
    def api_url(self) -> str:
        return self.world.api_url

    @property
    def app(self) -> App:
        return self.world.app

    @property
    def members(self) -> dict[str, set[str]]:
        """The logins of each organisation's members, all of it in small letters."""
        return self.world.members

    @property
    def faults(self) -> Faults:
        return self.world.faults

    @property
    def requests(self) -> list[LoggedRequest]:
        """Every API request so far, oldest first."""
        return self.world.requests

    def count(self, method: str = "*", path: str = "") -> int:
        """How many API requests so far had this method and a path in which the expression is found."""
        found = [one for one in self.requests if method in ("*", one.method)]
        return sum(re.search(path, one.path) is not None for one in found)

    @property
    def deliveries(self) -> list[Delivery]:
        """Every try at a delivery that has ended, oldest first."""
        return self.world.post.deliveries

    def user(self, login: str) -> User:
        """The person of that name, created at the first mention."""
        return self.world.account(login)

    async def create_repository(
        self,
        full_name: str,
        files: Mapping[str, str | bytes],
        *,
        private: bool = True,
        default_branch: str = "main",
        collaborators: Mapping[str, Permission] | None = None,
    ) -> Repository:
        """A repository whose first commit holds `files`. An owner who is no user yet is an organisation."""
        repository = await self.world.create_repository(
            full_name, private=private, default_branch=default_branch, collaborators=collaborators or {}
        )
        await repository.bare.create(default_branch)
        author = repository.owner.signature(self.world.now())
        await repository.bare.first_commit(default_branch, files, author)
        return repository

    async def fork(self, repository: Repository, user: User) -> Repository:
        """`user`'s own copy, from which `user:branch` can be a pull request's head."""
        fork = await self.world.create_repository(
            f"{user.login}/{repository.name}",
            private=repository.private,
            default_branch=repository.default_branch,
            collaborators={},
            parent=repository,
        )
        await fork.bare.create(fork.default_branch)
        await fork.bare.git("fetch", "--quiet", str(repository.bare.path), "+refs/heads/*:refs/heads/*")
        return fork

    def add_hook(
        self,
        repository: Repository,
        url: str,
        *,
        secret: str | None = None,
        events: frozenset[str] = frozenset({"*"}),
        content_type: Literal["json", "form"] = "json",
    ) -> Hook:
        """A repository's own hook, which is pinged; without `secret` it gets a random one."""
        world = self.world
        hook = Hook(
            next(world.ids),
            url,
            secret or random_token("", 32),
            events,
            world.now(),
            repository,
            content_type,
        )
        world.hooks[hook.id] = hook
        ping(world, repository, hook.id, repository.owner)
        return hook

    def deliver(self, event: str, payload: Json, *, hook: Hook | None = None) -> str:
        """Queue any event for a hook, the App's by default; returns its GUID. No contract is asked."""
        return self.world.post.send(hook or self.app.hook, event, payload, checked=False).guid

    async def redeliver(self, guid: str) -> Delivery:
        """Try a delivery again with its GUID, and return that try when it has ended."""
        again = self.world.post.again(self.world.post.find(guid))
        await self.until(lambda: again in self.deliveries)
        return again

    async def settled(self, timeout: float = PATIENCE) -> None:
        """Return when every queued delivery has been tried."""
        await self.world.post.settled(timeout)

    async def until(self, predicate: Callable[[], T], timeout: float = PATIENCE) -> T:
        """Wait, at most `timeout` seconds, for `predicate` to give something true; return that."""
        return await self.world.feed.until(predicate, timeout)

    def subscribe(self) -> Subscription:
        """What happens from now on, as an async iterator; its `queue` can be read too."""
        return self.world.feed.subscribe()

    def statuses(self, repository: Repository, sha: str) -> list[Status]:
        """All statuses of a commit, oldest first."""
        return list(self.world.statuses.get((repository.id, sha), []))

    def latest_statuses(self, repository: Repository, sha: str) -> dict[str, Status]:
        """The newest status for each context."""
        return {status.context: status for status in newest(self.world, repository, sha)}

    def comments(self, repository: Repository, number: int) -> list[Comment]:
        found = self.world.comments.values()
        return [one for one in found if one.repository is repository and one.number == number]

    def reactions(self, comment_id: int) -> list[Reaction]:
        return [one for one in self.world.reactions.values() if one.comment_id == comment_id]

    def deployments(self, repository: Repository) -> list[Deployment]:
        """Oldest first; each has its statuses."""
        return [one for one in self.world.deployments.values() if one.repository is repository]

    def shift_clock(self, seconds: float) -> None:
        """Put GitHub's clock ahead of this machine's (behind, when negative)."""
        self.world.offset = timedelta(seconds=seconds)

    async def api(self, user: User, method: str, path: str, body: Any = None) -> Any:
        """A real API request by a person; the JSON of the answer, an error status raises."""
        headers = {"Authorization": f"Bearer {user.token}", "X-GitHub-Api-Version": "2022-11-28"}
        answer = await self._client.request(method, self.api_url + path, json=body, headers=headers)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def open_pull(
        self,
        repository: Repository,
        user: User,
        *,
        head: str,
        base: str | None = None,
        title: str = "A change",
        body: str = "",
        draft: bool = False,
    ) -> int:
        """The number of a new pull request; `head` is a branch, or `login:branch` of a fork."""
        wish: Json = {"head": head, "base": base or repository.default_branch, "title": title, "draft": draft}
        wish |= {"body": body} if body else {}
        pull = await self.api(user, "POST", f"/repos/{repository.full_name}/pulls", wish)
        return int(pull["number"])

    async def edit_pull(self, repository: Repository, number: int, user: User, **change: str) -> None:
        """Change `title`, `body`, `base` or `state`."""
        await self.api(user, "PATCH", f"/repos/{repository.full_name}/pulls/{number}", change)

    async def close_pull(self, repository: Repository, number: int, user: User) -> None:
        await self.edit_pull(repository, number, user, state="closed")

    async def reopen_pull(self, repository: Repository, number: int, user: User) -> None:
        await self.edit_pull(repository, number, user, state="open")

    async def merge_pull(
        self, repository: Repository, number: int, user: User, *, method: Literal["merge", "squash"] = "merge"
    ) -> str:
        """The SHA that the base branch is at now."""
        path = f"/repos/{repository.full_name}/pulls/{number}/merge"
        return str((await self.api(user, "PUT", path, {"merge_method": method}))["sha"])

    async def comment(self, repository: Repository, number: int, user: User, body: str) -> int:
        """The id of a new comment on a pull request."""
        path = f"/repos/{repository.full_name}/issues/{number}/comments"
        return int((await self.api(user, "POST", path, {"body": body}))["id"])

    async def open_issue(
        self, repository: Repository, user: User, title: str = "An issue", body: str = ""
    ) -> int:
        """The number of a new issue; `comment` comments on it as on a pull request."""
        wish = {"title": title, **({"body": body} if body else {})}
        issue = await self.api(user, "POST", f"/repos/{repository.full_name}/issues", wish)
        return int(issue["number"])

    async def edit_comment(self, repository: Repository, comment: int, user: User, body: str) -> None:
        path = f"/repos/{repository.full_name}/issues/comments/{comment}"
        await self.api(user, "PATCH", path, {"body": body})
