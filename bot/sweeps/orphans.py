"""Previews that no open pull request owns, by GitHub's own list: their close was missed, whatever the reason.

A preview belongs to (repository id, number), not to branches: a pull request may be stacked or retargeted.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select

from bot.github.client import GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.store.database import Store
from bot.store.tables import Environment, Pull, Repository
from bot.sweeps import marks
from workers.contract.messages import now

EVERY = 600.0  # seconds
# A repository that GitHub does not show for so long is gone; before, our rights may have been in doubt.
_MISSING = timedelta(hours=1)

log = structlog.get_logger()


async def sweep(store: Store, github: GitHub) -> None:
    """Note which previews' pull requests are closed; `sweeps.previews` stops them."""
    for repository in await _with_previews(store):
        try:
            await _look(store, github, repository)
        except GitHubUnavailable as error:
            log.warning("previews are looked at later", error=str(error))
            return
        except GitHubRefused as error:
            log.warning("pull requests not seen", repository=repository.full_name, error=str(error))
            if error.status in (404, 410):
                await _missing(store, repository)


async def _with_previews(store: Store) -> list[Repository]:
    owners = select(Environment.repository_id).where(
        col(Environment.pull_number).is_not(None), col(Environment.stopped).is_(False)
    )
    wanted = select(Repository).where(col(Repository.id).in_(owners), Repository.inactive == "")
    async with store.reading() as session:
        return list((await session.exec(wanted.order_by(col(Repository.id)))).all())


async def _look(store: Store, github: GitHub, repository: Repository) -> None:
    listed = await github.open_pulls(repository)
    for number in await _previews(store, repository):
        # A list lags behind, and so its silence is no proof.
        if number not in listed and not await _open(github, repository, number):
            await _closed(store, repository, number)
    async with store.transaction() as session:
        await marks.remove(session, f"missing:{repository.id}")


async def _open(github: GitHub, repository: Repository, number: int) -> bool:
    try:
        return (await github.pull(repository, number)).open
    except GitHubRefused as error:
        if error.status in (404, 410):
            return False
        raise


async def _previews(store: Store, repository: Repository) -> list[int]:
    here = select(Environment.pull_number).where(
        Environment.repository_id == repository.id,
        col(Environment.pull_number).is_not(None),
        col(Environment.stopped).is_(False),
    )
    async with store.reading() as session:
        return [number for number in (await session.exec(here)).all() if number is not None]


async def _closed(store: Store, repository: Repository, number: int) -> None:
    async with store.transaction() as session:
        row = await session.get(Pull, (repository.id, number)) or Pull(
            repository_id=repository.id, number=number, head_sha="", head_ref=""
        )
        row.open = False
        session.add(row)
    store.instruments.found("orphans")
    log.info("a preview's pull request is closed", repository=repository.full_name, number=number)


async def _missing(store: Store, repository: Repository) -> None:
    """The repository is not shown to us: when that has lasted, none of its pull requests is open."""
    mark = f"missing:{repository.id}"
    since = await marks.read(store, mark)
    if since is None:
        async with store.transaction() as session:
            await marks.move(session, mark, now().isoformat())
    elif datetime.fromisoformat(since) < now() - _MISSING:
        for number in await _previews(store, repository):
            await _closed(store, repository, number)
