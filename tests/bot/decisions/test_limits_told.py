"""What a repository's file says of its jobs at once is kept with the repository."""

from __future__ import annotations

from sqlmodel import select

from bot.store.tables import Repository
from tests.bot.talk import Talk

FILE = """
jobs: 2
images: {app: {}}
environments: {production: {image: app}}
"""


async def test_the_limit_of_the_default_branchs_file_is_the_repositorys(talk: Talk) -> None:
    sha = await talk.push({"index.html": "1"})
    await talk.until_reason(f"runs {sha[:7]} of main")

    async with talk.store.reading() as session:
        assert (await session.exec(select(Repository.at_once))).one() == 2
