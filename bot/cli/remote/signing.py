"""`blacktree login`, `logout` and `open`; and `token list` and `token revoke` of a bot elsewhere."""

from __future__ import annotations

import re
import sys
from typing import Annotated

import typer

from bot.cli.remote import checkout, logins, showing
from bot.cli.remote.asking import Bot
from bot.cli.remote.options import Repo, Url
from config.errors import ConfigError

_MOST = 10_000  # characters of standard input
_JOB = re.compile(r"\d+-\d+")


def login(url: Annotated[str, typer.Argument(metavar="URL", help="such as https://ci.example.com")]) -> None:
    """Sign in to a bot: its token is asked for, or read from standard input, and kept for you alone."""
    given = logins.Login(logins.address(url), _token())
    Bot(given).get("/runs", limit=1)
    logins.keep(given)
    typer.echo(f"signed in to {given.url}; the token is in {logins.place()}", err=True)


def logout(url: Url = None) -> None:
    """Forget a bot and its token."""
    typer.echo(f"forgotten: {logins.forget(url)}", err=True)


def listed(bot: Bot, json: bool) -> None:
    """What lets somebody in to `bot`."""
    found = bot.get("/tokens")
    if json:
        return showing.as_json(found)
    rows = [
        (one["id"][:12], one["kind"], one["name"], one["about"], showing.ago(one["seen_at"])) for one in found
    ]
    return showing.table(("id", "kind", "whose", "", "seen"), rows, "there is none")


def revoke(bot: Bot, token: str) -> None:
    """End what has this id, or is the only one whose id begins so. Raises ConfigError."""
    there = {one["id"]: one["name"] for one in bot.get("/tokens")}
    found = [token] if token in there else [one for one in there if one.startswith(token)]
    if len(found) != 1:
        raise ConfigError(f"{token}: {len(found)} tokens begin so: see `blacktree token list`")
    bot.delete(f"/tokens/{found[0]}")
    typer.echo(f"{there[found[0]]} is revoked at {bot.url}")


def open_(
    what: Annotated[
        str | None, typer.Argument(metavar="[JOB|RUN]", help="else the repository's page")
    ] = None,
    repo: Repo = None,
    url: Url = None,
    show: Annotated[bool, typer.Option("--print", help="only say where it is")] = False,
) -> None:
    """Open a page of the bot: a job's, a run's, or that of the repository that you are in."""
    bot = logins.found(url)
    if what is None:
        known = repo or checkout.here().repository
        page = f"{bot.url}/repositories/{known}" if known else bot.url
    elif _JOB.fullmatch(what) or what.isdecimal():
        page = f"{bot.url}/{'runs' if what.isdecimal() else 'jobs'}/{what}"
    else:
        raise ConfigError(f"{what}: say a run, such as 17, or a job, such as 17-2")
    if show or typer.launch(page) != 0:
        typer.echo(page)


def _token() -> str:
    """Typed without being shown, or standard input: never an argument, which others of this machine see."""
    typed = sys.stdin.isatty()
    token = (str(typer.prompt("token", hide_input=True)) if typed else sys.stdin.read(_MOST)).strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ConfigError("the token: that is none; `blacktree token` prints it, where the bot runs")
    return token
