"""The demo, as a newcomer starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.parts.engine import Engine

_CHECKOUT = Path(__file__).parents[2]


def run_demo(**environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m tests.demo --once`, with stdout and stderr in one."""
    return subprocess.run(
        [sys.executable, "-m", "tests.demo", "--once"],
        cwd=_CHECKOUT, env=os.environ | environment, timeout=800, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip


@pytest.mark.engine
def test_the_demo_goes_through_checks_itself_and_leaves_nothing() -> None:
    done = run_demo()

    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    assert "✓ no container is left" in done.stdout


def test_an_engine_that_does_not_answer_is_said_in_a_sentence() -> None:
    done = run_demo(DOCKER_HOST="tcp://127.0.0.1:1")

    assert done.returncode == 1, done.stdout
    assert "No Docker engine answers at DOCKER_HOST=tcp://127.0.0.1:1" in done.stdout
    assert "Traceback" not in done.stdout


def test_an_engine_that_the_demo_did_not_start_survives_a_demo_that_fails(engine: Engine) -> None:
    run_demo(DOCKER_HOST="tcp://127.0.0.1:1")

    assert engine.client.ping()
