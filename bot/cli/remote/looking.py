"""`blacktree status`, `runs`, `env` and `logs`: what there is."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from bot.cli.remote import checkout, showing
from bot.cli.remote.asking import Bot, Ended
from bot.cli.remote.options import Json, Repo, Url
from config.errors import ConfigError

_JOB = re.compile(r"\d+-\d+")
All = Annotated[bool, typer.Option("--all", "-a", help="of every repository, wherever you are")]


def status(repo: Repo = None, everywhere: All = False, url: Url = None, json: Json = False) -> None:
    """What runs where, and what is being done: of the repository that you are in, else of all."""
    bot = Bot.of(url)
    one = None if everywhere else repo or checkout.here().repository or None
    places = bot.get("/environments", repository=one)
    jobs = [
        job
        for state in ("running", "queued", "waiting")
        for job in bot.all("/jobs", 50, repository=one, state=state)
    ]
    if json:
        return showing.as_json({"environments": places, "jobs": jobs})
    _places(bot, places)
    if jobs:
        typer.echo()
        _jobs(bot, jobs)
    return None


def runs(
    repo: Repo = None,
    branch: Annotated[str | None, typer.Option("--branch", "-b", help="of this one alone")] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="in which a job of it is, such as failed")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000)] = 20,
    everywhere: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """The newest runs: of the repository that you are in, else of all."""
    bot = Bot.of(url)
    one = None if everywhere else repo or checkout.here().repository or None
    found = bot.all("/runs", limit, repository=one, branch=branch, state=state)
    if json:
        return showing.as_json(found)
    rows = [
        (
            showing.linked(str(run["id"]), f"{bot.url}/runs/{run['id']}"),
            showing.state(showing.overall([job["state"] for job in run["jobs"]])),
            run["repository"],
            run["cause"],
            run["ref"].removeprefix("refs/heads/").removeprefix("refs/"),
            run["sha"][:7],
            run["actor"],
            f"{showing.ago(run['created_at'])} ago",
        )
        for run in found
    ]
    return showing.table(
        ("run", "", "repository", "cause", "ref", "commit", "by", ""), rows, "nothing ran yet"
    )


def env(
    name: Annotated[
        str | None, typer.Argument(metavar="[ENVIRONMENT]", help="one, with its releases")
    ] = None,
    repo: Repo = None,
    everywhere: All = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """The environments of a repository; or one, with its visits and the releases that one may go back to."""
    bot = Bot.of(url)
    if name is None:
        one = None if everywhere else repo or checkout.here().repository or None
        places = bot.get("/environments", repository=one)
        return showing.as_json(places) if json else _places(bot, places)
    place = found_place(bot, checkout.wanted(repo), name)
    releases = bot.get(f"/environments/{place['id']}/releases")
    hours = bot.get(f"/environments/{place['id']}/visits")["hours"]
    if json:
        return showing.as_json({**place, "releases": releases, "visits": hours})
    _places(bot, [place])
    typer.echo()
    if place["requested_at"]:
        requests = sum(hour["requests"] for hour in hours)
        typer.echo(f"{requests:,} requests in a day, the last {showing.ago(place['requested_at'])} ago\n")
    rows = [
        (
            str(one["id"]),
            showing.state(one["state"]),
            one["sha"][:7],
            one["actor"],
            showing.ago(one["live_at"]),
            one["why"],
        )
        for one in releases
    ]
    return showing.table(("release", "", "commit", "by", "live since", "why"), rows, "no release is kept")


def of_job(bot: Bot, what: str, follow: bool, tail: int | None, attempt: int | None) -> None:
    """The log of a job, or of the job of a run that matters. Raises ConfigError."""
    if not (_JOB.fullmatch(what) or what.isdecimal()):
        raise ConfigError(
            f"{what}: say a job, such as 17-2, or a run, such as 17: `blacktree runs` lists them; "
            "or OWNER/REPO and an environment"
        )
    job = what if _JOB.fullmatch(what) else matters(bot.get(f"/runs/{what}"))
    if follow:
        raise typer.Exit(followed(bot, job))
    print_log(bot, job, tail=tail, attempt=attempt)


def print_log(bot: Bot, job: str, **query: Any) -> None:
    """As it stands now."""
    typer.echo(bot.answer("GET", f"/jobs/{job}/log", query).text, nl=False)


def followed(bot: Bot, job: str) -> Ended:
    """Print a job's log until it has ended, whatever its attempts; how it ended."""
    while True:
        for kind, text in bot.events(f"/jobs/{job}/log/events"):
            if kind == "log":
                typer.echo(text, nl=False)
        now = bot.get(f"/jobs/{job}")
        if now["state"] in ("succeeded", "failed", "cancelled"):
            if now["sentence"]:
                typer.echo(f"{now['state']}: {now['sentence']}", err=True)
            return Ended.WELL if now["state"] == "succeeded" else Ended.NOT_SO


def matters(run: dict[str, Any]) -> str:
    """Pure: the job of a run whose log somebody wants: what failed, what runs, or the last that began."""
    for wanted in ("failed", "running"):
        if found := [job["id"] for job in run["jobs"] if job["state"] == wanted]:
            return str(found[0])
    begun = [job["id"] for job in run["jobs"] if job["started_at"]]
    if not begun:
        raise ConfigError(f"nothing of run {run['id']} has begun yet")
    return str(begun[-1])


def found_place(bot: Bot, repository: str, name: str) -> dict[str, Any]:
    """An environment by its name. Raises ConfigError."""
    found = bot.get("/environments", repository=repository, name=name)
    if not found:
        raise ConfigError(f"{repository} has no environment {name} yet: `blacktree env` lists them")
    return dict(found[0])


def _places(bot: Bot, places: list[dict[str, Any]]) -> None:
    rows = [
        (
            place["repository"],
            showing.linked(place["name"], f"{bot.url}/environments/{place['id']}"),
            showing.state(showing.place_state(place)),
            place["release"]["sha"][:7] if place["release"] else "-",
            showing.ago(place["since"]),
            place["release"]["actor"] if place["release"] else "",
            showing.linked(place["url"], place["url"]) if place["url"] else "",
        )
        for place in places
    ]
    showing.table(
        ("repository", "environment", "", "commit", "since", "by", "where"), rows, "nothing was deployed yet"
    )


def _jobs(bot: Bot, jobs: list[dict[str, Any]]) -> None:
    rows = [
        (
            showing.linked(job["id"], f"{bot.url}/jobs/{job['id']}"),
            showing.state(job["state"]),
            job["repository"],
            f"{job['kind']} {job['name']}",
            showing.ago(job["started_at"] or job["created_at"]),
            job["cancelling"] or job["sentence"],
        )
        for job in jobs
    ]
    showing.table(("job", "", "repository", "", "for", ""), rows, "")
