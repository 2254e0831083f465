"""When the next thing may be said to GitHub on behalf of one installation."""

from __future__ import annotations

import time

from aiolimiter import AsyncLimiter

from bot.github.client import GitHubUnavailable

# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api: 900 points a minute of which
# a write takes 5, and 80 requests a minute and 500 an hour that create content. A limiter lets as much
# through at once as in the time after, hence half of each; of the points the rest is for those who read.
_WRITES = (70.0, 60.0)
_CONTENT = ((40.0, 60.0), (250.0, 3600.0))
_MOST_GROWTH = 12  # times the pause that GitHub's first refusal means


class Lane:
    """One installation's: everything in it goes one by one, and all of it pauses when GitHub wants that."""

    def __init__(self) -> None:
        self._open_at = 0.0  # by the monotonic clock
        self._refusals = 0
        self._writes = AsyncLimiter(*_WRITES)
        self._content = [AsyncLimiter(*limit) for limit in _CONTENT]

    @property
    def open(self) -> bool:
        return self._open_at <= time.monotonic()

    @property
    def may_create(self) -> bool:
        """Whether content may be created now; a status never waits for that."""
        return all(limiter.has_capacity() for limiter in self._content)

    async def turn(self, *, creates: bool) -> None:
        """Wait until one more write is within GitHub's limits: at once at first, then about a second."""
        for limiter in (self._writes, *(self._content if creates else ())):
            await limiter.acquire()

    def took(self) -> None:
        """GitHub took something."""
        self._refusals = 0

    def pause(self, error: GitHubUnavailable) -> float:
        """Close until GitHub wants to be asked again; the seconds.

        Where GitHub did not say when, the pause doubles from one refusal to the next, up to a limit.
        """
        growth = 1 if error.told else min(2**self._refusals, _MOST_GROWTH)
        self._refusals += 1
        return self.close(error.wait * growth)

    def close(self, seconds: float) -> float:
        self._open_at = time.monotonic() + seconds
        return seconds
