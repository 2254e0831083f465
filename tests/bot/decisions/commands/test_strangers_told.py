"""What people without write access may ask, and what it may cost: over HTTP, to a bot that has no worker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx2
import pytest

from bot.decisions import patience
from bot.decisions.commands.grammar import MOST_MARKS
from config.trust import trusted
from tests.bot.talk import Talk
from tests.config.test_written import HOSTILE, MOST

FILE = "environments: {preview: {}}\n"
_PATIENCE = 1.0  # seconds of a processor: those that others of this machine take are none of the bot's


async def longest(talk: Talk, until: asyncio.Event) -> float:
    """The most that the bot did before it said that it is alive."""
    url = str(talk.github.app.hook_url).replace("/webhooks/github", "/healthz")
    slowest = 0.0
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        while not until.is_set():
            asked = time.process_time()
            assert (await http.get(url)).status_code == 200
            slowest = max(slowest, time.process_time() - asked)
            await asyncio.sleep(0.02)
    return slowest


@pytest.mark.parametrize("text", ["odd freezes", "unknown keys", "merges", "brackets"])
async def test_the_file_of_a_fork_that_nobody_approved_holds_nobody_up(
    talk: Talk, tmp_path: Path, text: str
) -> None:
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await talk.github.fork(talk.repository, eve)
    work = await fork.clone(tmp_path / "fork", eve)
    await work.checkout("feature", create=True)
    await work.commit({".blacktree.yml": HOSTILE[text][:MOST]})
    await work.push(branch="feature")
    number = await talk.github.open_pull(talk.repository, eve, head="eve:feature")
    done = asyncio.Event()

    async with asyncio.TaskGroup() as group:
        alive = group.create_task(longest(talk, done))
        said = [await talk.refused(number, "/plan", eve) for _ in range(3)]
        done.set()

    assert all(one.startswith(".blacktree.yml:") for one in said)
    assert alive.result() < _PATIENCE


async def test_a_stranger_is_answered_some_times_then_told_to_wait_then_not_at_all(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"

    for _ in range(patience.PERSON):
        await talk.done(number, "/help", eve)

    assert "try again in ten minutes" in await talk.refused(number, "/help", eve)
    comment = await talk.github.comment(talk.repository, number, eve, "/help")
    await talk.until_reason("eve may not write here, and gives too many commands")
    assert talk.reactions(comment) == set()
    for _ in range(patience.PERSON + 2):
        await talk.done(number, "/help", talk.ada)


async def test_a_comment_that_is_all_markup_is_answered_without_being_read(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    said = await talk.refused(number, "/help\n\n" + "![" * MOST_MARKS)

    assert "this comment has too much markup to look for commands in" in said


@pytest.mark.parametrize("body", ["/Help", "\u200b/help", "/help.", "/status `please`"])
async def test_a_command_as_a_phone_writes_it_is_answered(talk: Talk, body: str) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert await talk.say(number, body) in ({"eyes", "rocket"}, {"confused"})


async def test_a_question_is_answered_with_the_command(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert await talk.refused(number, "/deploy?") == "there is no command /deploy?. Did you mean /deploy?"
