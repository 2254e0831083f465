"""What people read of an environment's processes."""

from __future__ import annotations

from bot.reports.texts import CommentView, PlaceView, comment
from workers.contract.messages import now


def view(processes: str) -> str:
    place = PlaceView("pr-7", "✅ succeeded", "http://shop.test", "b" * 40, "", "", processes=processes)
    return comment(CommentView("b" * 40, now(), [], [place]))


def test_the_comment_says_how_many_of_each_process_run_and_nothing_where_there_is_one_alone() -> None:
    said = "web 1 of 1, worker 1 of 2"
    assert f"\n\npr-7 runs {said}\n" in view(said)
    assert "pr-7 runs" not in view("")
