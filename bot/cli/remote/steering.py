"""`blacktree stop`, `wake`, `maintenance`, `lock`, `unlock`, `approvals`, `approve` and `deny`."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from bot.cli.remote import checkout, showing
from bot.cli.remote.acting import asked, ordered, said
from bot.cli.remote.asking import Bot
from bot.cli.remote.options import Actor, Environment, Json, Repo, Url, Wait, Why
from config.errors import ConfigError

_SHA = re.compile(r"[0-9a-f]{40}")

Sha = Annotated[str, typer.Argument(metavar="COMMIT", help="the whole of it: what you have looked at")]
Place = Annotated[
    str | None, typer.Argument(metavar="[ENVIRONMENT]", help="one; all of the repository's, if none is named")
]


def stop(
    environment: Environment,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Remove what an environment runs. Its services' data stays, but a preview's."""
    bot = Bot.of(url)
    ordered(bot, asked(bot, repo, environment, "stop", {"why": why, "actor": actor}), wait, json)


def wake(environment: Environment, repo: Repo = None, url: Url = None, json: Json = False) -> None:
    """Start a preview that sleeps."""
    said(asked(Bot.of(url), repo, environment, "wake"), json)


def maintenance(
    environment: Environment,
    switch: Annotated[str, typer.Argument(metavar="on|off")],
    text: Annotated[str | None, typer.Option("--text", help="what visitors are told")] = None,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Show visitors a page instead of the app, or the app again."""
    if switch not in ("on", "off"):
        raise ConfigError(f"{switch}: say on or off")
    body = {"on": switch == "on", "text": text, "why": why, "actor": actor}
    said(asked(Bot.of(url), repo, environment, "maintenance", body), json)


def lock(
    environment: Place = None,
    lasts: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="such as 2h: then it ends by itself")
    ] = None,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let nobody else deploy to an environment, or to any of the repository's."""
    bot, repository = Bot.of(url), checkout.wanted(repo)
    body = {"environment": environment, "for": lasts, "why": why, "actor": actor}
    told = bot.post(f"/repositories/{repository}/locks", body)
    if json:
        return showing.as_json(told)
    until = f" until {told['expires_at']}" if told["expires_at"] else ""
    return showing.said(f"{environment or 'every environment'} is locked by {told['owner']}{until}")


def unlock(environment: Place = None, repo: Repo = None, url: Url = None) -> None:
    """Free a lock, whoever took it."""
    bot, repository = Bot.of(url), checkout.wanted(repo)
    what = environment or "every environment"
    held = [
        one
        for one in bot.get(f"/repositories/{repository}/locks")
        if one["environment"] == (environment or "")
    ]
    if not held:
        raise ConfigError(f"nothing locks {what} of {repository}")
    bot.delete(f"/repositories/{repository}/locks/{held[0]['id']}")
    showing.said(f"{what} is free: {held[0]['owner']} had it")


def approvals(repo: Repo = None, url: Url = None, json: Json = False) -> None:
    """What waits for somebody's approval: of the repository that you are in, else of all."""
    bot = Bot.of(url)
    found = bot.all("/approvals", 100, repository=repo or checkout.here().repository or None)
    if json:
        return showing.as_json(found)
    rows = [
        (
            one["repository"],
            f"deploy to {one['environment']}" if one["environment"] else "build a fork's",
            f"#{one['pull_number']}" if one["pull_number"] else one["ref"].removeprefix("refs/heads/"),
            one["sha"],
            one["actor"],
            f"{showing.ago(one['created_at'])} ago",
        )
        for one in found
    ]
    return showing.table(("repository", "", "of", "commit", "by", ""), rows, "nothing waits for an approval")


def approve(
    sha: Sha,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Let exactly this commit be built, if it is a fork's, or be deployed where it waits for that."""
    bot = Bot.of(url)
    body = {"sha": _whole(sha), "why": why, "actor": actor}
    ordered(bot, bot.post(f"/repositories/{checkout.wanted(repo)}/approvals", body), wait, json)


def deny(
    sha: Sha, repo: Repo = None, why: Why = None, actor: Actor = None, url: Url = None, json: Json = False
) -> None:
    """Say no to a commit that waits for an approval."""
    body = {"sha": _whole(sha), "why": why, "actor": actor}
    said(Bot.of(url).post(f"/repositories/{checkout.wanted(repo)}/denials", body), json)


def _whole(sha: str) -> str:
    if not _SHA.fullmatch(sha.lower()):
        raise ConfigError(f"{sha}: name the whole commit, all 40 digits: `blacktree approvals` lists them")
    return sha.lower()
