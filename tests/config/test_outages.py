"""What others did not do is told in one line, a bug with its traceback, and what is away is waited for."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from config import outages
from config.errors import ConfigError
from config.outages import Outside, Waits, answered, cause, told

REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
UNKNOWN = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error",
    [
        REFUSED,
        ConnectionResetError("reset"),
        UNKNOWN,
        FULL,
        Outside("the broker is away"),
        ConfigError("x: is wrong"),
        ExceptionGroup("", [REFUSED, ExceptionGroup("", [FULL])]),
    ],
)
def test_what_others_did_not_do_is_one_line(error: Exception) -> None:
    assert cause(error)
    with capture_logs() as logs:
        told(structlog.get_logger(), "it broke", error, part="x")
    (line,) = logs
    assert line["log_level"] == "warning"
    assert line["part"] == "x"
    assert "exc_info" not in line


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        TimeoutError(),
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "denied"),
        ExceptionGroup("", [REFUSED, KeyError("x")]),
        BaseExceptionGroup("", [KeyboardInterrupt()]),
    ],
)
def test_what_may_be_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert cause(error) == ""
    with capture_logs() as logs:
        told(structlog.get_logger(), "it broke", error)
    (line,) = logs
    assert line["exc_info"] is error
    assert line["log_level"] == "error"


async def test_what_is_away_is_waited_for_and_said_at_first_and_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(outages, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    monkeypatch.setattr(outages, "_FIRST_PAUSE", 0.0)
    answers: Iterator[Exception | str] = iter([REFUSED, REFUSED, UNKNOWN, REFUSED, REFUSED, "here"])

    async def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with capture_logs() as logs:
        assert await answered(Waits("the queue", queue="q"), ask, cause) == "here"

    assert [(line["event"], line.get("seconds")) for line in logs] == [
        ("waiting for the queue", 0),
        ("waiting for the queue", 75),
        ("the queue answers", None),
    ]
    assert all(line["queue"] == "q" for line in logs)


async def test_what_is_not_away_is_raised_at_once() -> None:
    async def ask() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await answered(Waits("the queue"), ask, cause)
