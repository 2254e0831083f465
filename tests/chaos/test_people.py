"""People come to what they wish also where GitHub fails them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from tests.chaos.people import People
from tests.chaos.schedule import Wish
from tests.chaos.town import PAGE, Town
from tests.github import Fault, GitHub


async def test_an_answer_that_is_lost_keeps_nobody_from_opening_closing_and_telling(
    github: GitHub, tmp_path: Path
) -> None:
    ada = github.user("ada")
    shop = await github.create_repository("acme/shop", {PAGE: "first"}, collaborators={"ada": "write"})
    work = await shop.clone(tmp_path / "work", ada)
    people = People(cast(Town, SimpleNamespace(github=github, shop=shop, user=ada, work=work, pages={})))

    for wish in (Wish.OPEN, Wish.OPEN, Wish.CANCEL, Wish.CLOSE):
        github.faults.add(Fault.lost("/repos/", method="*"))
        await people.do(wish, 0)

    assert people.opened == {2: "feature-2"}
    assert people.closed == [1]
    assert {pull.number: pull.state for pull in shop.pulls.values()} == {1: "closed", 2: "open"}
    assert {comment.body for comment in github.comments(shop, 1)} == {"/cancel"}
