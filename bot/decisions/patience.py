"""How often people without write access are answered: each command costs reads, and a request to GitHub."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

PERSON = 10  # comments with commands in a repository, within SPAN
PULL = 40  # likewise on one pull request, by all of them together
SPAN = 600.0  # seconds
_MOST = 1000  # keys
_MOST_HEARD = 200  # of one key: beyond it, who comes is refused anyway


class Patience:
    """Counts comments by what they have in common."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: defaultdict[tuple[object, ...], dict[int, float]] = defaultdict(dict)

    def before(self, comment_id: int, *key: object) -> int:
        """How many other comments with that key there were lately; this one counts from now on."""
        now = self._clock()
        if len(self._heard) >= _MOST:
            self._heard.clear()
        lately = {one: at for one, at in self._heard[key].items() if now - at < SPAN}
        if len(lately) < _MOST_HEARD:
            lately.setdefault(comment_id, now)
        self._heard[key] = lately
        return sum(one != comment_id for one in lately)
