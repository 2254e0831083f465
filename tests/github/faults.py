"""What can go wrong on GitHub's side, by choice: the next requests that match are spoiled."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

LIMITED = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api"
UNICORN = b"<!DOCTYPE html>\n<title>Unicorn! &middot; GitHub</title>\n<p>No server is available.</p>\n"


@dataclass
class Fault:
    """The next `times` requests whose method and path (a regular expression, searched for) match.

    `delay` in seconds comes first, then `before` is awaited. With `status` the request is answered so and
    nothing is done. With `drop` the work is done (unless there is a status), and the connection is closed
    without an answer.
    """

    method: str = "*"
    path: str = ""
    status: int | None = None
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    delay: float = 0.0
    drop: bool = False
    before: Callable[[], Awaitable[None]] | None = None
    hits: int = 0

    @classmethod
    def secondary_limit(
        cls,
        path: str = "",
        *,
        retry_after: int | None = 60,
        status: int = 403,
        method: str = "*",
        times: int = 1,
    ) -> "Fault":
        """GitHub's secondary rate limit; `retry_after` in seconds, None leaves the header out."""
        message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        body = {"message": message, "documentation_url": LIMITED}
        return cls(method=method, path=path, status=status, times=times, headers=headers, body=body)

    @classmethod
    def primary_limit(
        cls, path: str = "", *, reset_in: int = 60, status: int = 403, method: str = "*", times: int = 1
    ) -> "Fault":
        """The hourly limit is used up; it is reset in `reset_in` seconds."""
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(time.time()) + reset_in)}
        body = {"message": "API rate limit exceeded for installation.", "documentation_url": LIMITED}
        return cls(method=method, path=path, status=status, times=times, headers=headers, body=body)

    @classmethod
    def html(cls, path: str = "", *, status: int = 502, method: str = "*", times: int = 1) -> "Fault":
        """The page of GitHub's load balancers, where JSON was asked for."""
        headers = {"Content-Type": "text/html; charset=utf-8"}
        return cls(method=method, path=path, status=status, times=times, headers=headers, body=UNICORN)

    @classmethod
    def lost(cls, path: str = "", *, method: str = "POST", times: int = 1) -> "Fault":
        """The work is done, and the answer never comes."""
        return cls(method=method, path=path, times=times, drop=True)

    @classmethod
    def slow(cls, path: str = "", *, delay: float, method: str = "*", times: int = 1) -> "Fault":
        """The answer comes `delay` seconds late."""
        return cls(method=method, path=path, times=times, delay=delay)


class Faults:
    """`outages` come before the others."""

    def __init__(self) -> None:
        self.outages: list[Fault] = []
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The first fault that matches and is not used up."""
        for fault in [*self.outages, *self._faults]:
            if fault.hits < fault.times and fault.method in ("*", method) and re.search(fault.path, path):
                fault.hits += 1
                return fault
        return None
