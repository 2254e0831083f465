"""What a decision says of who is told: the default branch's channels, and commits that wait for somebody."""

from __future__ import annotations

from typing import Any

from sqlmodel import select

from bot.decisions import effects
from bot.decisions.decision import Approve, Channels, Want
from bot.outbox.troubles import turns, weighed
from bot.store.database import Store
from bot.store.tables import Happening, Repository, Trouble
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.outbox.receiver import until
from tests.bot.talk import Talk

FILE = """
environments:
  production: {gates: {approval: true}}
notifications:
  channels: {team: {secret: TEAM_CHAT, on: [crash]}}
"""
SHA = "1" * 40


async def test_the_default_branchs_file_says_who_is_told_and_a_held_commit_is(talk: Talk) -> None:
    async def channels() -> Any:
        async with talk.store.reading() as session:
            row = await session.get(Repository, talk.repository.id)
        return row and row.channels

    async def troubles() -> list[str]:
        async with talk.store.reading() as session:
            return list((await session.exec(select(Trouble.thing))).all())

    other = FILE.replace("TEAM_CHAT", "ANOTHER")
    sha = await talk.push({"a": "1"})
    told = await until(channels)
    assert told == {"team": {"secret": "TEAM_CHAT", "on": ["crash"], "environments": []}}

    async def waits() -> bool:
        return f"approval::{sha[:12]}" in await troubles()

    await until(waits)
    await talk.work.checkout("side", create=True)
    await talk.push({".blacktree.yml": other}, "side")
    await talk.work.checkout("main")
    await talk.push({"b": "2"})
    assert await channels() == told, "a branch of its own says nothing of it"
    await talk.push({".blacktree.yml": other})

    async def changed() -> bool:
        return bool((await channels())["team"]["secret"] == "ANOTHER")

    await until(changed)


async def test_an_approval_ends_the_waiting_of_its_commit(store: Store, rows: Rows) -> None:
    await rows.run()
    async with store.transaction() as session:
        owner = await session.get_one(Repository, REPOSITORY)
        for effect in (
            Want("production", None, SHA, "refs/heads/main", "ada", "nobody has"),
            Channels({}),
            Approve(3, SHA, "grace"),
        ):
            await effects.apply(session, owner, effect)
    async with store.reading() as session:
        found = (await session.exec(select(Happening))).all()
        assert (await session.get_one(Repository, REPOSITORY)).channels is None

    told, wrong = weighed([turn for one in found for turn in turns(one.kind, one.about)], set())
    assert [news.event for news in told] == ["approval.waiting"]
    assert wrong == set()
