"""The living comment is brought to GitHub; once it shows a head, commands may act on that."""

from __future__ import annotations

from datetime import datetime

from bot.github.client import GitHubRefused
from bot.github.forge import GitHub
from bot.github.telling import Comment
from bot.reports import texts
from bot.reports.living_comment import view
from bot.store.database import Store
from bot.store.logs import LogStore
from bot.store.tables import Pull, Repository
from config.settings import Settings

_FORBIDDEN = 403


class Commenter:
    """Writes the one comment of each pull request."""

    def __init__(self, store: Store, github: GitHub, settings: Settings, logs: LogStore) -> None:
        self._store = store
        self._github = github
        self._settings = settings
        self._logs = logs

    async def tell(self, repository: Repository, number: int) -> None:
        """Show how things stand: in the comment or, where nobody may write one, the head in a status.

        Raises GitHubError.
        """
        async with self._store.reading() as session:
            pull = await session.get_one(Pull, (repository.id, number))
            shown = await view(session, pull, self._settings.base_url, self._logs)
        if shown is None:
            return
        try:
            sent = await self._written(repository, pull, texts.comment(shown))
        except GitHubRefused as error:
            locked = error.status == _FORBIDDEN and (await self._github.pull(repository, number)).locked
            if not locked:
                raise
            await self._without(repository, pull, shown.sha)
        else:
            await self._announced(pull, shown.sha, sent.updated_at, sent.id)

    async def _written(self, repository: Repository, pull: Pull, text: str) -> Comment:
        """Edit the living comment; make it where there is none, or where somebody deleted it."""
        sent = await self._edited(repository, pull.comment_id, text) if pull.comment_id else None
        if sent is None:
            known = await self._github.telling.find_comment(repository, pull.number, texts.MARKER)
            sent = await self._edited(repository, known, text) if known else None
        return sent or await self._github.telling.create_comment(repository, pull.number, text)

    async def _edited(self, repository: Repository, comment_id: int, text: str) -> Comment | None:
        try:
            return await self._github.telling.edit_comment(repository, comment_id, text)
        except GitHubRefused as error:
            if error.status in (404, 410):
                return None
            raise

    async def _without(self, repository: Repository, pull: Pull, sha: str) -> None:
        """Announce a head in a status: whoever may still comment on it sees that."""
        if pull.announced_sha == sha:
            return
        body = {"state": "success", "context": texts.LOCKED_CONTEXT, "description": texts.LOCKED}
        await self._announced(pull, sha, await self._github.telling.set_status(repository, sha, body))

    async def _announced(self, pull: Pull, sha: str, at: datetime, comment_id: int | None = None) -> None:
        """Note which head is shown, since then by GitHub's clock."""
        async with self._store.transaction() as session:
            row = await session.get_one(Pull, (pull.repository_id, pull.number))
            row.comment_id = comment_id or row.comment_id
            if row.announced_sha != sha:
                row.announced_sha, row.announced_at = sha, at
