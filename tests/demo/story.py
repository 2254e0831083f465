"""What the developer does, and waits for."""

from __future__ import annotations

import html
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx2

from tests.demo.bot import Bot
from tests.demo.machine import Machine
from tests.demo.screen import Line, Screen
from tests.demo.waiting import DemoFailed, until
from tests.github import GitHub, Repository, User, WorkTree

T = TypeVar("T")

SAMPLE = Path(__file__).parent / "sample"
PAGE = "index.html"
BUILD = "blacktree/build"
PRODUCTION = "blacktree/deploy (production)"
PREVIEW = "blacktree/deploy (preview)"
_DEPLOYED = 240.0  # seconds from a push to its page
_SOON = 90.0  # seconds for what follows by itself


@dataclass
class Seen:
    """What was true at its time, for the check at the end."""

    production_sha: str = ""
    production_url: str = ""
    production_answered: bool = False
    number: int = 0
    head_sha: str = ""
    preview_url: str = ""
    preview_answered: bool = False
    comments: list[str] = field(default_factory=list)
    command: int = 0
    second_run: str = ""
    preview_gone: bool = False


class Story:
    """A push, a pull request, a command, and the end of the pull request."""

    def __init__(
        self,
        screen: Screen,
        github: GitHub,
        bot: Bot,
        machine: Machine,
        http: httpx2.AsyncClient,
        repository: Repository,
        developer: User,
        work: WorkTree,
    ) -> None:
        self.seen = Seen()
        self._screen = screen
        self._github = github
        self._bot = bot
        self._machine = machine
        self._http = http
        self._repository = repository
        self._developer = developer
        self._work = work

    async def tell(self) -> None:
        """Up to a production and a preview that answer. Raises DemoFailed."""
        self._screen.chapter("A push to main goes to production")
        await self._push_to_main()
        self._screen.chapter("A pull request gets a preview")
        await self._open_pull()
        self._screen.chapter("/redeploy runs it again")
        await self._redeploy()

    async def close_pull(self) -> None:
        """Close the pull request and see its preview gone. Raises DemoFailed."""
        self._screen.chapter("A closed pull request leaves nothing")
        self._you(f"close #{self.seen.number}")
        await self._github.close_pull(self._repository, self.seen.number, self._developer)
        await self._until(self._is_gone, "the preview to be gone", _SOON)
        self.seen.preview_gone = True
        self._screen.say(Line("live", f"{self.seen.preview_url} answers no more"))
        await self._until(self._all_told, "GitHub to hear the end", _SOON)

    async def _push_to_main(self) -> None:
        seen = self.seen
        page = _page("Hello from production")
        seen.production_sha = await self._work.commit({PAGE: page}, message="Say hello")
        self._you(f"git push origin main   [cyan]{seen.production_sha[:7]}[/]")
        await self._work.push(branch="main")
        seen.production_url = await self._live(seen.production_sha, PRODUCTION, "production")
        seen.production_answered = await self._answered(seen.production_url, page)

    async def _open_pull(self) -> None:
        seen, page = self.seen, _page("A warmer hello")
        await self._work.checkout("warmer", create=True)
        seen.head_sha = await self._work.commit({PAGE: page}, message="Say hello, but warmer")
        self._you(f"git push origin warmer   [cyan]{seen.head_sha[:7]}[/]")
        await self._work.push(branch="warmer")
        seen.number = await self._github.open_pull(
            self._repository, self._developer, head="warmer", title="Say hello, but warmer"
        )
        self._you(f"open pull request #{seen.number}, warmer → main")
        seen.preview_url = await self._live(seen.head_sha, PREVIEW, f"pr-{seen.number}")
        seen.preview_answered = await self._answered(seen.preview_url, page)
        # A command acts on the head that its author could see: the one in the comment.
        await self._until(self._comment_is_whole, "the comment to show it all", _SOON)

    async def _redeploy(self) -> None:
        seen = self.seen
        before = {run.id for run in await self._bot.runs()}
        self._you(f"comment on #{seen.number}: [cyan]/redeploy[/]")
        seen.command = await self._github.comment(self._repository, seen.number, self._developer, "/redeploy")

        async def second_run() -> str | None:
            new = [run for run in await self._bot.runs() if run.id not in before]
            if new and new[0].over:
                return ", ".join(f"{job.kind} {job.state}" for job in new[0].jobs)
            return None

        async def rocket() -> bool:
            return "rocket" in self.reactions()

        seen.second_run = await self._until(second_run, "the second run to end", _DEPLOYED)
        await self._until(rocket, "the rocket on the command", _SOON)
        await self._answered(seen.preview_url, _page("A warmer hello"))
        await self._until(self._comment_is_whole, "the comment to show the second run", _SOON)
        seen.comments = self.comments()
        await self._github.settled()

    def reactions(self) -> set[str]:
        """On the command."""
        return {reaction.content for reaction in self._github.reactions(self.seen.command)}

    def comments(self) -> list[str]:
        """The bot's, on the pull request."""
        comments = self._github.comments(self._repository, self.seen.number)
        return [comment.body for comment in comments if comment.by_app]

    def state(self, sha: str, context: str) -> str:
        status = self._github.latest_statuses(self._repository, sha).get(context)
        return status.state if status else "missing"

    def deployment_states(self) -> dict[str, str]:
        """Of the newest deployment for each environment."""
        return {one.environment: one.state or "" for one in self._github.deployments(self._repository)}

    async def _live(self, sha: str, context: str, environment: str) -> str:
        """The URL that GitHub's Deployments box gives for this commit."""

        async def url() -> str | None:
            for status in self._github.latest_statuses(self._repository, sha).values():
                if status.state in ("failure", "error"):
                    raise DemoFailed(f"{status.context} ended as {status.state}: {status.description}")
            if self.state(sha, context) != "success":
                return None
            for one in reversed(self._github.deployments(self._repository)):
                if (one.sha, one.environment, one.state) == (sha, environment, "success"):
                    return one.statuses[-1].environment_url or None
            return None

        return await self._until(url, f"{sha[:7]} in {environment}", _DEPLOYED)

    async def _answered(self, url: str, page: str) -> bool:
        async def answers() -> bool:
            return (await self._http.get(url)).text == page

        await self._until(answers, f"{url} to answer with this commit's page", _SOON)
        self._screen.say(Line("live", f"{url} answers: [bold]{_title(page)}[/]"))
        return True

    async def _is_gone(self) -> bool:
        mine = [f"io.blacktree.worker={self._bot.name}", f"io.blacktree.environment=pr-{self.seen.number}"]
        first, second = [set(await self._machine.containers(label)) for label in mine]
        if first & second:
            return False
        try:
            return _page("A warmer hello") not in (await self._http.get(self.seen.preview_url)).text
        except httpx2.ConnectError:
            return True

    async def _all_told(self) -> bool:
        told = "removed" in "".join(self.comments())
        return told and self.deployment_states().get(f"pr-{self.seen.number}") == "inactive"

    async def _comment_is_whole(self) -> bool:
        return all(ok for _, ok in comment_parts(self.comments(), self.seen))

    async def _until(self, look: Callable[[], Awaitable[T | None]], what: str, limit: float) -> T:
        self._screen.wait_for(f"waiting for {what}")
        try:
            return await until(look, what, limit)
        finally:
            self._screen.wait_for(None)

    def _you(self, text: str) -> None:
        self._screen.say(Line("you", text))


def comment_parts(comments: list[str], seen: Seen) -> list[tuple[str, bool]]:
    """What the pull request's comment must show, and whether it does."""
    body = "\n".join(comments)
    return [
        ("one", len(comments) == 1),
        ("state", body.count("succeeded") == 2 and "running" not in body and "queued" not in body),
        ("commit", bool(seen.head_sha) and seen.head_sha[:7] in body),
        ("preview URL", bool(seen.preview_url) and seen.preview_url in body),
        ("build time", bool(re.search(r"\| (\d+ min )?[\d.]+ s \|", body))),
        ("image size", bool(re.search(r"\| [\d.]+ MB \|", body))),
    ]


def _page(greeting: str) -> str:
    sample = (SAMPLE / PAGE).read_text()
    return re.sub(r"<h1>.*</h1>", f"<h1>{html.escape(greeting)}</h1>", sample)


def _title(page: str) -> str:
    found = re.search(r"<h1>(.*)</h1>", page)
    return found[1] if found else "a page"
