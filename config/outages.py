"""What others did not do, told in one line; what is left is a bug of ours, told with its traceback."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from config.errors import ConfigError

T = TypeVar("T")
Cause = Callable[[BaseException], str]

log = structlog.get_logger()

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0  # seconds between two looks whether it is back
_REMIND = 60.0  # seconds between two lines about the same wait
# Of the machine, its network and its disks, by errno(3). A file that is not there, or not ours, is none.
_AWAY = {
    errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ESHUTDOWN, errno.ENOTCONN,
    errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.EADDRNOTAVAIL, errno.ENOSPC, errno.EDQUOT, errno.EIO,
}  # fmt: skip


class Outside(Exception):
    """Somebody else does not do what was asked. The text says who, and why."""


def cause(error: BaseException, also: Cause | None = None) -> str:
    """Why it is no bug of ours, as a sentence; empty where it may be one. Of a group, all have to be none.

    `also` knows the causes of errors that this room cannot know.
    """
    if isinstance(error, BaseExceptionGroup):
        causes = [cause(one, also) for one in error.exceptions]
        return "; ".join(dict.fromkeys(causes)) if all(causes) else ""
    if also is not None and (found := also(error)):
        return found
    if isinstance(error, Outside | ConfigError):
        return str(error) or type(error).__name__
    if isinstance(error, ConnectionError | socket.gaierror) or (
        isinstance(error, OSError) and error.errno in _AWAY
    ):
        return str(error) or type(error).__name__
    return ""


def told(logger: Any, event: str, error: BaseException, known: Cause = cause, **fields: Any) -> None:
    """One line about what others did not do, and a traceback of what is a bug."""
    if why := known(error):
        logger.warning(event, error=why, **fields)
    else:
        logger.error(event, exc_info=error, **fields)


class Waits:
    """Says what is waited for: at once, again each minute, and when it is there."""

    def __init__(self, what: str, **fields: Any) -> None:
        self.why = ""
        self._what = what
        self._fields = fields
        self._since = self._said = 0.0

    def say(self, why: str) -> None:
        """It is away, and why."""
        at = time.monotonic()
        if not self.why:
            self._since, self._said = at, at - _REMIND
        if at - self._said >= _REMIND:
            log.warning(f"waiting for {self._what}", why=why, seconds=round(at - self._since), **self._fields)
            self._said = at
        self.why = why

    def over(self) -> None:
        """It is there; said if it was waited for."""
        if self.why:
            seconds = round(time.monotonic() - self._since, 1)
            log.info(f"{self._what} answers", waited=seconds, **self._fields)
        self.why = ""


async def answered(waits: Waits, ask: Callable[[], Awaitable[T]], away: Callable[[Exception], str]) -> T:
    """What `ask` gives, asked again while it raises something that is `away`, by a sentence that says why."""
    pause = _FIRST_PAUSE
    while True:
        try:
            found = await ask()
        except Exception as error:
            why = away(error)
            if not why:
                raise
            waits.say(why)
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        else:
            waits.over()
            return found
