"""Asks a bot, and says in plain words what went wrong. A command's exit code says whose turn it is."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

import typer

from bot.cli.remote import logins

if TYPE_CHECKING:
    import httpx2

_PATIENCE = 3  # tries, of what the bot may not have heard
_SOON = 0.2  # seconds before a line that ended is opened again
_SECONDS = 30.0  # until a bot that says nothing is away


class Ended(IntEnum):
    """How a command ends, for whoever called it. docs/cli.md says the same."""

    WELL = 0
    NOT_SO = 1  # what was followed has failed, or was cancelled
    WRONG = 2  # what was typed, or the login
    REFUSED = 3  # the bot refuses: a gate, or a state
    NOT_FOUND = 4
    AWAY = 5  # the bot, or what it needs


_BY_STATUS = {400: Ended.WRONG, 401: Ended.WRONG, 403: Ended.REFUSED, 404: Ended.NOT_FOUND, 421: Ended.WRONG}


def fail(sentence: str, code: int) -> NoReturn:
    """Say it, and end."""
    from rich.console import Console

    Console(stderr=True).print(f"blacktree: {sentence}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


class Bot:
    """One bot, asked with a token."""

    def __init__(self, login: logins.Login) -> None:
        import httpx2

        from config.trust import trusted

        self.url = login.url
        bearer = {"authorization": f"Bearer {login.token}", "user-agent": "blacktree"}
        # A command is few requests: it leaves no line open behind it.
        self._http = httpx2.Client(
            base_url=f"{login.url}/api/v1",
            headers=bearer,
            timeout=_SECONDS,
            verify=trusted(),
            limits=httpx2.Limits(max_keepalive_connections=0),
        )

    @classmethod
    def of(cls, url: str | None) -> Bot:
        """That of `url`, or of the last login. Raises ConfigError."""
        return cls(logins.found(url))

    def get(self, path: str, **query: Any) -> Any:
        """What is there; what is None is not asked for. Ends the command where it is refused."""
        return self.answer("GET", path, query).json()

    def all(self, path: str, most: int, **query: Any) -> list[Any]:
        """A list, part by part, until there are `most`."""
        found: list[Any] = []
        given: dict[str, Any] = {**query, "limit": min(most, 100)}
        while True:
            answer = self.answer("GET", path, given)
            found += answer.json()
            link = answer.links.get("next", {}).get("url", "")
            if not link or len(found) >= most:
                return found[:most]
            given["cursor"] = dict(_query(link))["cursor"]

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Do something, once, however often the line breaks."""
        given = {key: value for key, value in (body or {}).items() if value is not None}
        return self.answer("POST", path, {}, given).json()

    def delete(self, path: str) -> None:
        self.answer("DELETE", path, {})

    def answer(
        self, method: str, path: str, query: dict[str, Any], body: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """The answer of a bot that is there and says yes. Ends the command for any other."""
        import httpx2

        asked = {key: value for key, value in query.items() if value is not None}
        headers = {"idempotency-key": uuid4().hex} if method == "POST" else {}
        for left in reversed(range(_PATIENCE)):
            try:
                answer = self._http.request(method, path, params=asked, json=body, headers=headers)
            except httpx2.HTTPError as error:
                if not left:
                    fail(
                        f"{self.url} does not answer ({error or type(error).__name__}): is it up?", Ended.AWAY
                    )
            else:
                if answer.status_code not in (429, 503) or not left:
                    return self._well(answer)
            time.sleep(1.0)
        raise AssertionError("the last try returns or ends")

    def events(self, path: str, start: int = 0) -> Iterator[tuple[str, str]]:
        """What a stream says, kind and text, until `end`; when the line breaks it goes on where it was."""
        import httpx2

        last, broken = start, 0
        while True:
            try:
                with self._http.stream("GET", path, headers={"last-event-id": str(last)}) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        self._well(answer)
                    kind, broken = "", 0
                    for line in answer.iter_lines():
                        name, _, value = line.partition(": ")
                        if name == "event":
                            kind = value
                        elif name == "id":
                            last = int(value)
                        elif name == "data":
                            yield kind, json.loads(value)
                            if kind == "end":
                                return
                time.sleep(_SOON)  # each line ends after some minutes, and at the end of the bot
            except httpx2.HTTPError as error:
                broken += 1
                if broken > _PATIENCE:
                    fail(
                        f"{self.url} does not answer ({error or type(error).__name__}): is it up?", Ended.AWAY
                    )
                time.sleep(1.0)

    def _well(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.is_success:
            return answer
        fail(*refusal(self.url, answer.status_code, answer.content))


def refusal(url: str, status: int, body: bytes) -> tuple[str, Ended]:
    """Pure: what a bot that says no says, and how a command ends then."""
    try:
        told = json.loads(body)
        sentence = told.get("detail") or told["message"]
    except (ValueError, KeyError, AttributeError):
        sentence = f"{url} answers {status}, and not as a Blacktree does: is it the right address?"
    if status == 401:
        sentence = f"{url} does not know this token: `blacktree login {url}` takes another"
    default = Ended.AWAY if status >= 500 or status == 429 else Ended.REFUSED
    return sentence, _BY_STATUS.get(status, default)


def _query(link: str) -> list[tuple[str, str]]:
    from urllib.parse import parse_qsl, urlsplit

    return parse_qsl(urlsplit(link).query)


def terminal() -> bool:
    return sys.stdout.isatty()
