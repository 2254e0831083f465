"""What a commit says about itself: its `.blacktree.yml`, else its Compose file, else the defaults."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from bot.github.forge import GitHub
from bot.store.tables import Repository
from config.importing import repository as importing
from config.repository import FILE, parse
from config.repository import Repository as Config


@dataclass(frozen=True)
class Said:
    """The file that was read, what it means, and what of it is not carried over, a line each."""

    name: str
    config: Config
    left_out: tuple[str, ...] = ()


async def said(github: GitHub, repository: Repository, sha: str) -> Said:
    """Raises ConfigError with what is wrong in it, and GitHubError."""
    text = await github.file(repository, FILE, sha)
    if text is None:
        names = await github.names(repository, sha)
        if file := importing.named(names):
            compose = await github.file(repository, file, sha)
            return await _compose(github, repository, sha, file, compose or "", names)
    return Said(FILE, await asyncio.to_thread(parse, text))


async def _compose(
    github: GitHub, repository: Repository, sha: str, file: str, text: str, names: frozenset[str]
) -> Said:
    asked = await asyncio.to_thread(importing.asked, file, text, names)
    texts = {path: await github.file(repository, path, sha) for path in asked}
    there = {path: one for path, one in texts.items() if one is not None}
    found = await asyncio.to_thread(importing.found, file, text, there, names)
    return Said(file, found.repository(), tuple(found.left_out))
