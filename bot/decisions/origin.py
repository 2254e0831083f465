"""Where a commit that is built already comes from: what holds its deploy holds its promotion too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlmodel import col, select

from bot.decisions.desk import Desk
from bot.decisions.gates import Wish
from bot.store.tables import Run
from config.repository import Environment

_BRANCH, _TAG, _PULL = "refs/heads/", "refs/tags/", "refs/pull/"


async def traced(desk: Desk, wish: Wish, place: Environment) -> Wish:
    """The wish of what `place` is to run, with whose head it is where a push could not bring it there.

    What belongs to no pull request, as another branch's commit, is unmerged all the same. Raises GitHubError.
    """
    default = await desk.head(desk.repository.default_branch)
    if default is not None and await desk.github.contains(desk.repository, default, wish.sha):
        return wish
    runs = await _runs(desk, wish.sha)
    if any(_takes(place, run.ref, desk.repository.default_branch) for run in runs):
        return wish
    wish = dataclasses.replace(wish, unmerged=True)
    number = next((run.pull_number for run in runs if run.pull_number and run.ref.startswith(_PULL)), None)
    if number is None:
        return wish
    pull = await desk.github.pull(desk.repository, number)
    return dataclasses.replace(wish, pull=number, author=pull.author, base=pull.base)


def _takes(place: Environment, ref: str, default_branch: str) -> bool:
    if ref.startswith(_BRANCH):
        return place.takes_push(ref.removeprefix(_BRANCH), default_branch)
    tag = ref.removeprefix(_TAG)
    return ref.startswith(_TAG) and (place.takes_tag(tag) or place.takes_release(tag))


async def _runs(desk: Desk, sha: str) -> Sequence[Run]:
    """What was run of a commit, newest first."""
    its = select(Run).where(Run.repository_id == desk.repository.id, Run.sha == sha)
    async with desk.store.reading() as session:
        return (await session.exec(its.order_by(col(Run.id).desc()))).all()
