"""A container's output on its way from a thread that reads to the loop that shows it.

The loop is given one piece at a time, so that it hears everything else between two; meanwhile the thread, and
so the engine, waits. Nothing here grows with what an app prints.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

_MOST = 32 * 1024  # characters that may wait


class Following:
    """Made in the loop that is to take what is read."""

    def __init__(self, output: Callable[[str], None]) -> None:
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: list[str] = []
        self._size = 0
        self._open = True

    def read(self, stream: Iterable[bytes]) -> None:
        """For the thread: all of `stream`, or until it is closed."""
        for piece in stream:
            with self._changed:
                self._changed.wait_for(lambda: self._size < _MOST or not self._open)
                if not self._open:
                    return
                if not self._waiting:
                    self._loop.call_soon_threadsafe(self._take)
                self._waiting.append(piece.decode(errors="replace"))
                self._size += len(piece)

    def close(self) -> None:
        """What was not taken is not wanted any more."""
        with self._changed:
            self._open = False
            self._changed.notify()

    def _take(self) -> None:
        with self._changed:
            text, self._waiting, self._size = "".join(self._waiting), [], 0
            self._changed.notify()
        if self._open:
            self._output(text)
