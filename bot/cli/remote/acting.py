"""`blacktree deploy`, `promote`, `rollback`, `update`, `cancel` and `retry`: what somebody wants."""

from __future__ import annotations

import re
import time
from typing import Annotated, Any

import typer

from bot.cli.remote import checkout, showing
from bot.cli.remote.asking import Bot, Ended
from bot.cli.remote.looking import found_place
from bot.cli.remote.options import Actor, Environment, Json, Repo, Url, Wait, Why
from config.errors import ConfigError

_JOB = re.compile(r"\d+-\d+")
_PREVIEW = re.compile(r"pr-(\d+)")
_LOOK = 2.0  # seconds between two looks at a run
_FINAL = {"succeeded", "failed", "cancelled"}


def deploy(
    environment: Environment,
    pull: Annotated[int | None, typer.Option("--pull", "-p", min=1, help="a pull request's head")] = None,
    release: Annotated[
        int | None, typer.Option("--release", min=1, help="one that is kept, as `env` lists")
    ] = None,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Deploy the default branch's head, a pull request's, or a release; pr-42 is a preview."""
    if pull is not None and release is not None:
        raise ConfigError("--pull and --release: say one of them")
    bot, repository = Bot.of(url), checkout.wanted(repo)
    by = {"why": why, "actor": actor}
    if release is not None:
        told = asked(bot, repository, environment, "deploys", {**by, "release": release})
    elif preview := _PREVIEW.fullmatch(environment):
        told = bot.post("/runs", {**by, "repository": repository, "pull": int(preview[1])})
    else:
        told = bot.post("/runs", {**by, "repository": repository, "environment": environment, "pull": pull})
    ordered(bot, told, wait, json)


def promote(
    source: Annotated[str, typer.Argument(metavar="FROM")],
    target: Annotated[str, typer.Argument(metavar="TO")],
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Deploy to one environment the very images that another runs."""
    bot = Bot.of(url)
    told = asked(bot, repo, target, "promote", {"from": source, "why": why, "actor": actor})
    ordered(bot, told, wait, json)


def rollback(
    environment: Environment,
    release: Annotated[str | None, typer.Argument(metavar="[RELEASE]", help="its number or commit")] = None,
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Deploy the release before again, or the one that is named, with the settings that it had."""
    bot = Bot.of(url)
    told = asked(bot, repo, environment, "rollback", {"release": release, "why": why, "actor": actor})
    ordered(bot, told, wait, json)


def update(
    environment: Environment,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="such as db")],
    repo: Repo = None,
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Have a service of an environment run what its tag is now; its volumes stay."""
    bot = Bot.of(url)
    told = asked(bot, repo, environment, "update", {"service": service, "why": why, "actor": actor})
    ordered(bot, told, wait, json)


def cancel(
    what: Annotated[str, typer.Argument(metavar="JOB|RUN", help="such as 17-2, or 17")],
    why: Why = None,
    actor: Actor = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """End a job, or all that a run still does."""
    kind = "jobs" if _JOB.fullmatch(what) else "runs" if what.isdecimal() else ""
    if not kind:
        raise ConfigError(f"{what}: say a job, such as 17-2, or a run, such as 17")
    said(Bot.of(url).post(f"/{kind}/{what}/cancel", {"why": why, "actor": actor}), json)


def retry(
    job: Annotated[str, typer.Argument(metavar="JOB", help="such as 17-2")],
    why: Why = None,
    actor: Actor = None,
    wait: Wait = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Run a job once more, with what it needs and what needs it, while its commit is its ref's newest."""
    if not _JOB.fullmatch(job):
        raise ConfigError(
            f"{job}: say a job, such as 17-2: `blacktree runs --state failed` finds runs with one"
        )
    bot = Bot.of(url)
    ordered(bot, bot.post(f"/jobs/{job}/retry", {"why": why, "actor": actor}), wait, json)


def asked(
    bot: Bot, repo: str | None, environment: str, act: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What the bot says to an act on an environment, of the checkout's repository if none is named."""
    place = found_place(bot, checkout.wanted(repo), environment)
    return dict(bot.post(f"/environments/{place['id']}/{act}", body))


def said(told: dict[str, Any], json: bool) -> None:
    """What came of an act that has no run."""
    if json:
        return showing.as_json(told)
    return showing.said(told["message"])


def ordered(bot: Bot, told: dict[str, Any], wait: bool, json: bool) -> None:
    run = told["run"]
    if not json:
        showing.said(told["message"], f"{bot.url}/runs/{run}" if run else "")
    if not wait or run is None:
        if json:
            showing.as_json(told)
        return
    ended = _waited(bot, run, quiet=json)
    if json:
        showing.as_json(ended)
    if any(one["state"] != "succeeded" for one in ended["jobs"]):
        raise typer.Exit(Ended.NOT_SO)


def _waited(bot: Bot, run: int, quiet: bool) -> dict[str, Any]:
    """Say how each job moves, until all have ended."""
    known: dict[str, str] = {}
    while True:
        now = bot.get(f"/runs/{run}")
        for job in now["jobs"]:
            if known.get(job["id"]) != job["state"] and not quiet:
                typer.echo(
                    f"{job['id']}  {job['kind']} {job['name']}: {job['state']}  {job['sentence']}".rstrip()
                )
            known[job["id"]] = job["state"]
        if set(known.values()) <= _FINAL:
            return dict(now)
        time.sleep(_LOOK)
