"""`blacktree logs`: what an environment's containers print, or a job's log, from the bot's API.

It is asked where one is signed in, and else, where the bot runs, with the API's token.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.remote import logins
from bot.cli.remote.asking import Bot
from bot.cli.remote.logins import Login
from bot.cli.remote.looking import of_job
from bot.cli.remote.options import Url
from bot.cli.roles import BOT
from config import durations
from config.errors import ConfigError
from config.logging import configure
from config.sources import load

if TYPE_CHECKING:
    import httpx2

_TAIL = 200  # lines
_AGAIN = 1.0  # seconds before a bot that is away is asked again
_PATIENCE = 60.0  # seconds without a word; a bot says every fifteen that it is there


def logs(
    what: Annotated[
        str, typer.Argument(metavar="JOB|RUN|OWNER/REPO", help="17-2; of a run the job that matters")
    ],
    environment: Annotated[str | None, typer.Argument(help="of OWNER/REPO")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on; of a job until it has ended: exits 1 if it failed")
    ] = False,
    process: Annotated[str, typer.Option("--process", "-p", help="of this process, or service, alone")] = "",
    since: Annotated[str, typer.Option(help="10m, 2h, 3d, or a time such as 2026-11-28T09:30:00Z")] = "",
    search: Annotated[str, typer.Option("--search", "-s", help="only lines with this text")] = "",
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=1, max=10_000, help="so many last lines")
    ] = None,
    attempt: Annotated[int | None, typer.Option("--attempt", min=1, help="of a job")] = None,
    url: Url = None,
    config: Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")] = None,
) -> None:
    """A job's log; or what an environment's containers printed: the last lines (200), or all --since then."""
    import httpx2

    login = _login(url, config)
    if environment is None:
        return of_job(Bot(login), what, follow, tail, attempt)
    last = str(tail or ("" if since else _TAIL))
    asked = {"process": process, "since": _since(since), "search": search, "tail": last}
    params = {name: value for name, value in asked.items() if value}
    try:
        with asking(login) as http:
            path = f"/api/v1/environments/{found(http, what, environment)}/logs"
            for line in _followed(http, path, params) if follow else _kept(http, path, params):
                typer.echo(shown(line))
    except KeyboardInterrupt:
        sys.exit(130)
    except httpx2.HTTPError as error:
        raise ConfigError(
            f"the bot does not answer: {error or type(error).__name__}: is --url right?"
        ) from None


def _login(url: str | None, config: Path | None) -> Login:
    """That of whoever is signed in, or the API's token of the bot on this machine. Raises ConfigError."""
    if config is None and (login := logins.known(url)) is not None:
        return login
    settings = load(file=config)
    configure(settings.log_format, quiet=True)
    token = BOT.part("secrets.api_token").found(settings)
    return Login(logins.address(url or settings.base_url), token)


def asking(login: Login) -> httpx2.Client:
    """Asks the bot."""
    import httpx2

    from config.trust import trusted

    known = {"Authorization": f"Bearer {login.token}"}
    return httpx2.Client(base_url=login.url, headers=known, timeout=_PATIENCE, verify=trusted())


def found(http: httpx2.Client, repository: str, environment: str) -> int:
    """The number of an environment. Raises ConfigError."""
    answer = http.get("/api/v1/environments")
    _checked(answer)
    for place in answer.json():
        if (place["repository"].casefold(), place["name"]) == (repository.casefold(), environment):
            return int(place["id"])
    raise ConfigError(
        f"{repository} has no environment {environment}: see the pages, or /api/v1/environments"
    )


def shown(line: Mapping[str, Any]) -> str:
    """A line as a terminal shows it: no more than text can be in it."""
    release = f" {line['release']}" if line["release"] else ""
    return f"{line['at'][:19]}Z {line['process']}{release} | {line['text']}"


def _since(text: str) -> str:
    """The moment, once and for all: who connects again later means the same one. Raises ConfigError."""
    if text and text[-1:] in "smhd" and "T" not in text:
        try:
            seconds = durations.seconds(text)
        except ValueError as error:
            raise ConfigError(f"--since: {error}") from None
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds))
    return text


def _kept(http: httpx2.Client, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    with http.stream("GET", path, params=params) as answer:
        _checked(answer)
        for line in answer.iter_lines():
            if line:
                yield json.loads(line)


def _followed(http: httpx2.Client, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Until Ctrl-C; a bot that is away is asked again, from the last line on."""
    import httpx2

    last, connected = "", False
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        try:
            with http.stream("GET", path, params=params, headers=headers) as answer:
                if not connected or answer.status_code < 500:
                    _checked(answer)
                connected = True
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        told = json.loads(line.removeprefix("data: "))
                        last = str(told["place"])
                        yield told
        except httpx2.HTTPError:
            if not connected:
                raise
        time.sleep(_AGAIN)


def _checked(answer: httpx2.Response) -> None:
    """Raises ConfigError for an answer that is none."""
    if answer.is_success:
        return
    answer.read()
    try:
        said = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.reason_phrase
    raise ConfigError(f"the bot answers {answer.status_code}: {said}")
