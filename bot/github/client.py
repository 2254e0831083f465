"""gidgethub, wrapped once: one host, one place that says what an answer means, one API version.

An answer is either data, `GitHubUnavailable` (try again after some seconds) or `GitHubRefused` (final).
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn
from urllib.parse import urljoin, urlsplit

import httpx2
from gidgethub import abc as gidgethub_abc
from gidgethub import sansio

from bot.metrics.instruments import Instruments
from config.outages import Outside
from workers.contract.messages import now

USER_AGENT = "blacktree"
API_VERSION = "2022-11-28"
_MOST_REDIRECTS = 5
# Answers that are kept for their ETags: https://docs.github.com/rest/using-the-rest-api/best-practices
_MOST_KEPT = 500
_MOST_KEPT_BYTES = 65_536
# https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api: without a header that
# says when, a secondary limit means at least a minute.
_UNSAID_WAIT = 60.0
_BROKEN_WAIT = 5.0
MOST_OFF = 30  # seconds that our clock may be off GitHub's before it is worth a word


class GitHubError(Outside):
    """GitHub did not do what was asked; the text says what and why."""


class GitHubUnavailable(GitHubError):
    """Not now: GitHub is out of reach, broken or limits us. Worth another try in `wait` seconds.

    `told`: it is GitHub that said so; otherwise whoever is refused again should wait longer.
    """

    def __init__(self, sentence: str, wait: float, *, told: bool = False) -> None:
        super().__init__(sentence)
        self.wait = wait
        self.told = told


class GitHubRefused(GitHubError):
    """No, and asking again changes nothing. `off`: seconds that our clock is ahead of GitHub's, at a 401."""

    def __init__(self, status: int, sentence: str, off: float = 0.0) -> None:
        super().__init__(sentence)
        self.status = status
        self.off = off


class Client(gidgethub_abc.GitHubAPI):
    """Requests to the API at `base_url` and nowhere else."""

    def __init__(
        self, http: httpx2.AsyncClient, base_url: str, instruments: Instruments | None = None
    ) -> None:
        super().__init__(USER_AGENT, base_url=base_url)
        self._http = http
        self._instruments = instruments or Instruments()
        self._host = urlsplit(base_url).netloc
        self._origin = urlsplit(base_url)[:2]
        self._known: OrderedDict[tuple[str, str], httpx2.Response] = OrderedDict()

    async def scopes(self, token: str) -> set[str] | None:
        """The scopes of a classic token, None for tokens that have none to tell. Raises GitHubError."""
        headers = sansio.create_headers(USER_AGENT, oauth_token=token)
        _, answered, _ = await self._request(
            "GET", sansio.format_url("/user", {}, base_url=self.base_url), headers
        )
        told = answered.get("x-oauth-scopes")
        return None if told is None else {scope.strip() for scope in told.split(",")}

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        sent = {**headers, "x-github-api-version": API_VERSION}
        for _ in range(_MOST_REDIRECTS):
            if urlsplit(url)[:2] != self._origin:
                raise GitHubRefused(
                    0, f"not followed: {'://'.join(urlsplit(url)[:2])} is not {self.base_url}"
                )
            response = await self._asked(method, url, sent, body)
            if response.status_code not in (301, 302, 307, 308):
                return _classified(method, url, response)
            url = urljoin(url, response.headers.get("location", ""))
        raise GitHubRefused(310, f"{method} {urlsplit(url).path}: redirected in a circle")

    async def _asked(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx2.Response:
        """GitHub's answer; the last one again, which costs nothing, where GitHub says that it still holds.

        An answer is known by the token that asked as well as by its URL: none is given to another token.
        """
        key = (headers.get("authorization", ""), url)
        if method != "GET" or not key[0]:
            return await self._send(method, url, headers, body)
        known = self._known.get(key)
        sent = {**headers, "if-none-match": known.headers["etag"]} if known else headers
        response = await self._send(method, url, sent, body)
        if known is not None and response.status_code == 304:
            self._known.move_to_end(key)
            return known
        if response.status_code == 200 and "etag" in response.headers:
            self._keep(key, response)
        return response

    def _keep(self, key: tuple[str, str], response: httpx2.Response) -> None:
        self._known.pop(key, None)
        if len(response.content) <= _MOST_KEPT_BYTES:
            self._known[key] = response
        while len(self._known) > _MOST_KEPT:
            self._known.popitem(last=False)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx2.Response:
        begun = time.perf_counter()
        try:
            response = await self._http.request(method, url, headers=dict(headers), content=body)
        except httpx2.HTTPError as error:
            self._instruments.github_answered(method, None, time.perf_counter() - begun)
            sentence = f"GitHub at {self._host} does not answer: {str(error) or type(error).__name__}"
            raise GitHubUnavailable(sentence, _BROKEN_WAIT) from error
        self._instruments.github_answered(method, response.status_code, time.perf_counter() - begun)
        self._instruments.limits.heard(headers.get("authorization", ""), response.headers)
        return response

    async def sleep(self, seconds: float) -> NoReturn:
        raise AssertionError(f"not slept {seconds} s: whoever asks decides when to ask again")


def _classified(method: str, url: str, response: httpx2.Response) -> tuple[int, Mapping[str, str], bytes]:
    """The answer, if it is one that gidgethub can read as data. Raises GitHubError for all others."""
    status, headers = response.status_code, response.headers
    what = f"{method} {urlsplit(url).path}: {status}"
    if 200 <= status < 300 or status == 304:
        json_type = headers.get("content-type", "").startswith("application/json")
        if response.content and not (json_type and _is_json(response.content)):
            raise GitHubUnavailable(f"{what}: an answer that is not JSON", _BROKEN_WAIT)
        return status, headers, response.content
    message = f"{what}: {_message(response)}"
    broken, limited = status >= 500 or status == 408, status == 429 or (status == 403 and _limited(response))
    if broken or limited:
        wait = _wait(headers)
        unsaid = _BROKEN_WAIT if broken else _UNSAID_WAIT
        raise GitHubUnavailable(message, unsaid if wait is None else wait, told=wait is not None)
    off = _off(headers) if status == 401 else 0.0
    if abs(off) > MOST_OFF:
        message += f"; this machine's clock is {off:+.0f} s off GitHub's"
    raise GitHubRefused(status, message, off)


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _message(response: httpx2.Response) -> str:
    try:
        body: Any = response.json()
        faults = [
            item.get("message", item) if isinstance(item, dict) else item for item in body.get("errors", ())
        ]
        errors = "; ".join(map(str, faults))
        return f"{body['message']}{f' ({errors})' if errors else ''}"[:500]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return response.reason_phrase or "an error without a message"


def _limited(response: httpx2.Response) -> bool:
    headers = response.headers
    return (
        "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or "secondary rate limit" in response.text.lower()
        or "abuse detection" in response.text.lower()
    )


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until GitHub wants to hear from us again, where it says so."""
    after = headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "")
    if headers.get("x-ratelimit-remaining") == "0" and reset.isdigit():
        return max(1.0, float(reset) - time.time() + 1)
    return None


def _off(headers: Mapping[str, str]) -> float:
    """Seconds that our clock is ahead of GitHub's, 0 where GitHub does not tell its time."""
    try:
        return (now() - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return 0.0
