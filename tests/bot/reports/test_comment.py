"""A command acts only on the head that its author saw."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.decisions.events.comment import unsafe
from bot.github.forge import PullHead
from bot.store.tables import Pull

SEEN, MOVED = "a" * 40, "b" * 40
ANNOUNCED = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOT_YET = f"this head has not been announced yet; try again now that it is, or name it: {SEEN}"
A_FORK = f"#5 comes from a fork: name the commit that you mean, {SEEN}"
HEAD = PullHead(number=5, sha=SEEN, ref="feature", base="main", fork=False, open=True)


def announced(sha: str | None = SEEN, at: datetime | None = ANNOUNCED) -> Pull:
    return Pull(
        repository_id=1, number=5, head_sha=SEEN, head_ref="feature", announced_sha=sha, announced_at=at
    )


@pytest.mark.parametrize(
    ("head", "known", "later", "problem"),
    [
        (HEAD, announced(), 1, None),
        (HEAD, announced(), 86_400 * 30, None),
        (
            replace(HEAD, fork=True),
            announced(),
            1,
            A_FORK,
        ),
        (HEAD, None, 1, NOT_YET),
        (HEAD, announced(sha=None), 1, NOT_YET),
        (HEAD, announced(at=None), 1, NOT_YET),
        (
            replace(HEAD, sha=MOVED),
            announced(),
            1,
            "the head has moved to bbbbbbb, which the comment did not show",
        ),
        (HEAD, announced(), -1, "the head moved to aaaaaaa after this was written"),
    ],
)
def test_a_command_is_refused_if_its_author_may_have_seen_another_head(
    head: PullHead, known: Pull | None, later: int, problem: str | None
) -> None:
    assert unsafe(head, known, ANNOUNCED + timedelta(seconds=later)) == problem


@pytest.mark.parametrize(
    ("named", "fork", "safe"),
    [
        (SEEN, False, True),
        (SEEN[:7], False, True),
        (MOVED[:7], False, False),
        (SEEN, True, True),
        (SEEN[:39], True, False),
        (SEEN[:7], True, False),
    ],
)
def test_a_named_commit_must_be_the_head_and_whole_for_a_fork(named: str, fork: bool, safe: bool) -> None:
    """Of a shorter name for a commit somebody with a fork may make a twin."""
    assert (unsafe(replace(HEAD, fork=fork), None, ANNOUNCED, named) is None) is safe


def test_a_command_of_the_very_second_of_the_announcement_is_refused() -> None:
    assert unsafe(HEAD, announced(), ANNOUNCED) is not None
