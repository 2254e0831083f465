"""A bot with no worker, a repository on the stand-in, and people who comment on its pull requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from sqlmodel import col, select

from bot.main import bot
from bot.secrets import api_token
from bot.store.database import Store
from bot.store.tables import CommandRow, CommandState, Delivery, Job, JobState, Lock, Pull, Run
from config.settings import Settings
from config.trust import trusted
from tests.github import GitHub, Repository, User, WorkTree
from tests.github.standin import IDLE, PATIENCE
from workers.contract.memory import MemoryQueue

DOCKERFILE = "FROM scratch\n"
_FINAL = {"rocket", "confused"}


@dataclass
class Talk:
    """What people do, and what they see of it."""

    github: GitHub
    repository: Repository
    ada: User
    work: WorkTree
    store: Store
    first: str  # the repository's first commit
    queue: MemoryQueue
    api: httpx2.AsyncClient  # of whoever has the token
    folder: Path  # the bot's

    async def push(self, files: dict[str, str | None], branch: str = "main", message: str = "Change") -> str:
        sha = await self.work.commit(files, message=message)
        await self.work.push(branch=branch)
        return sha

    async def open_pull(self, files: dict[str, str | None], branch: str = "feature") -> tuple[int, str]:
        """A pull request whose head the living comment shows, and its head."""
        await self.work.checkout(branch, create=True)
        sha = await self.push(files, branch)
        number = await self.github.open_pull(self.repository, self.ada, head=branch)
        await self.announced(number, sha)
        return number, sha

    async def announced(self, number: int, sha: str) -> None:
        """The living comment shows this head, and has for more than a second."""
        await self._until(lambda: self._announced(number, sha))
        self.github.shift_clock((self.github.world.offset.total_seconds()) + 2)

    async def _announced(self, number: int, sha: str) -> bool:
        async with self.store.reading() as session:
            pull = await session.get(Pull, (self.repository.id, number))
        return pull is not None and pull.announced_sha == sha

    async def say(self, number: int, body: str, user: User | None = None) -> set[str]:
        """Comment, and wait for how the comment ends; its reactions."""
        comment = await self.github.comment(self.repository, number, user or self.ada, body)
        await self.github.until(lambda: self.reactions(comment) & _FINAL)
        return self.reactions(comment)

    async def accepted(self, number: int, body: str, user: User | None = None) -> int:
        """Comment, and wait until it is being worked on; the comment's id."""
        comment = await self.github.comment(self.repository, number, user or self.ada, body)
        await self.github.until(lambda: self.reactions(comment))
        assert self.reactions(comment) == {"eyes"}
        return comment

    def reactions(self, comment: int) -> set[str]:
        return {reaction.content for reaction in self.github.reactions(comment)}

    def living_comment(self, number: int) -> str:
        """The one comment of ours, empty while there is none."""
        comments = self.github.comments(self.repository, number)
        ours = [one.body for one in comments if one.user.login.endswith("[bot]")]
        assert len(ours) <= 1, "there is one living comment"
        return ours[0] if ours else ""

    async def shown(self, number: int, text: str) -> None:
        """Wait until the living comment says `text`."""
        await self.github.until(lambda: text in self.living_comment(number))

    async def commands(self) -> list[CommandRow]:
        """All commands so far, oldest first."""
        return await self._all(select(CommandRow).order_by(col(CommandRow.id)))

    async def answer(self) -> str:
        """What the newest command was answered."""
        return (await self.commands())[-1].answer

    async def refused(self, number: int, body: str, user: User | None = None) -> str:
        """Comment; that must be refused; why."""
        assert await self.say(number, body, user) == {"confused"}
        row = (await self.commands())[-1]
        assert row.state is CommandState.REFUSED
        return row.answer

    async def done(self, number: int, body: str, user: User | None = None) -> str:
        """Comment; that must be done at once; the answer."""
        assert await self.say(number, body, user) == {"eyes", "rocket"}
        return await self.answer()

    async def runs(self) -> list[Run]:
        """Oldest first."""
        return await self._all(select(Run).order_by(col(Run.id)))

    async def jobs(self, run: Run) -> list[Job]:
        return await self._all(select(Job).where(Job.run_id == run.id).order_by(col(Job.id)))

    async def queued(self, job: Job) -> Job:
        """The job, once it waits for no other and for no place any more."""

        async def moved() -> bool:
            return (await self._job(job)).state is not JobState.WAITING

        await self._until(moved)
        return await self._job(job)

    async def _job(self, job: Job) -> Job:
        async with self.store.reading() as session:
            return await session.get_one(Job, job.id)

    async def locks(self) -> list[Lock]:
        return await self._all(select(Lock))

    async def reasons(self, guid: str | None = None) -> list[str]:
        """What is said of each delivery, or of that one."""
        rows = await self._all(select(Delivery).order_by(col(Delivery.received_at)))
        return [row.reason for row in rows if guid in (None, row.guid)]

    async def until_reason(self, text: str, guid: str | None = None) -> None:
        async def said() -> bool:
            return any(text in reason for reason in await self.reasons(guid))

        await self._until(said)

    async def until_reasons(self, text: str, count: int) -> None:
        async def said() -> bool:
            return sum(text in reason for reason in await self.reasons()) == count

        await self._until(said)

    async def until_run(self, cause: str) -> None:
        async def ran() -> bool:
            return any(run.cause == cause for run in await self.runs())

        await self._until(ran)

    async def status(self, sha: str, context: str, state: str) -> str:
        """Wait for a status; its description."""

        def there() -> str | None:
            status = self.github.latest_statuses(self.repository, sha).get(context)
            return (status.description or " ") if status and status.state == state else None

        return str(await self.github.until(there))

    async def _all(self, wanted: Any) -> list[Any]:
        async with self.store.reading() as session:
            return list((await session.exec(wanted)).all())

    async def _until(self, look: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not await look():  # noqa: ASYNC110 (the store of another connection tells nobody)
                await asyncio.sleep(0.05)


@asynccontextmanager
async def talking(
    folder: Path, github: GitHub, files: dict[str, str | bytes] | None = None, **more: Any
) -> AsyncIterator[Talk]:
    """A repository acme/shop in which ada may write, and a bot, with `more` settings, that looks after it."""
    ada = github.user("ada")
    shop = await github.create_repository(
        "acme/shop", {"Dockerfile": DOCKERFILE, **(files or {})}, collaborators={"ada": "write"}
    )
    github.install_app(shop)
    settings = Settings(
        **more,
        data_dir=folder / "bot",
        port=0,
        proxy="none",
        github_api_url=github.api_url,
        github_webhook_secret=github.app.webhook_secret,
        github_app_id=github.app.id,
        github_app_private_key=github.app.private_key,
    )
    work = await shop.clone(folder / "work", ada)
    queue = MemoryQueue()
    async with (
        bot(settings, queue, asyncio.Event()) as url,
        Store.opened(settings.store_url) as store,
    ):
        github.app.hook_url = f"{url}/webhooks/github"
        bearer = {"authorization": f"Bearer {api_token.found(settings)}"}
        async with httpx2.AsyncClient(
            verify=trusted(), base_url=f"{url}/api/v1", headers=bearer, timeout=PATIENCE, limits=IDLE
        ) as api:
            yield Talk(github, shop, ada, work, store, await work.head(), queue, api, settings.data_dir)
