"""A Dockerfile for a newer builder than the worker's: what came when, and what to install."""

from __future__ import annotations

import pytest

from workers.contract.messages import Fault
from workers.engine.too_old import too_old

OURS = "BuildKit of docker 20.10.24 (/usr/bin/docker)"
HEREDOC = "FROM a\nRUN <<EOF\ntrue\nEOF\n"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("dockerfile parse error line 2: Unknown flag: link", "--link came with Dockerfile 1.4"),
        ("dockerfile parse error on line 2: unknown flag: --exclude", "--exclude came with Dockerfile 1.19"),
        ("dockerfile parse error line 2: Unknown flag: start-interval", "came with Docker 25"),
        ("dockerfile parse error line 3: unknown instruction: TRUE", "heredocs came with Dockerfile 1.4"),
        ("the --mount option requires BuildKit. Refer to", "needs BuildKit"),
    ],
)  # fmt: skip
def test_what_a_builder_is_too_old_for_is_said_with_what_to_do(said: str, words: str) -> None:
    failure = too_old(f"The build failed: {said}", HEREDOC, OURS)

    assert failure is not None
    assert (failure.fault, failure.reason) == (Fault.FINAL, "builder_too_old")
    assert words in failure.sentence
    assert OURS in failure.sentence
    assert "install Docker 2" in failure.sentence


@pytest.mark.parametrize(
    ("said", "dockerfile"),
    [
        ("dockerfile parse error line 2: Unknown flag: form", HEREDOC),
        ("dockerfile parse error line 2: unknown instruction: FORM", "FROM a\nFORM <<EOF"),
        ("exit code: 1", HEREDOC),
    ],
)
def test_a_slip_of_the_pen_is_no_matter_of_age(said: str, dockerfile: str) -> None:
    assert too_old(said, dockerfile, OURS) is None
