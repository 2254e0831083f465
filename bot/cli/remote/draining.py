"""`blacktree drains`: log drains, how far each is, and a test of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bot.cli.remote import checkout, showing
from bot.cli.remote.acting import asked
from bot.cli.remote.asking import Bot, Ended, fail
from bot.cli.remote.options import Json, Repo, Url

drains = typer.Typer(help="Log drains: where what containers print goes too.", no_args_is_help=True)

Instance = Annotated[bool, typer.Option("--instance", help="the instance's too, and every repository's")]
_UNITS = (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("B", 1))


@drains.command("list")
def list_(
    instance: Instance = False,
    most: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="of how many")] = 100,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """The log drains of each environment, and how far they are."""
    at = "/drains" if instance else f"/repositories/{checkout.wanted(repo)}/drains"
    rows = Bot.of(url).all(at, most)
    if json:
        return showing.as_json(rows)
    shown = [
        (
            f"{one['repository']} {one['environment']}",
            one["whose"],
            one["address"],
            showing.ago(one["sent_at"]),
            _behind(one),
            f"{one['dropped']:,}",
            _state(one),
        )
        for one in rows
    ]
    columns = ("environment", "whose", "address", "sent", "behind", "dropped", "state")
    return showing.table(columns, shown, "there are no log drains")


@drains.command("test")
def try_(
    environment: Annotated[str | None, typer.Argument(metavar="[ENVIRONMENT]")] = None,
    instance: Annotated[bool, typer.Option("--instance", help="LOG_DRAIN instead")] = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a log drain a line. Exits 1 if it does not take it."""
    if instance == (environment is not None):
        fail("name the environment whose log drain is meant, or --instance", Ended.WRONG)
    if environment is None:
        told, whose = Bot.of(url).post("/drains/test"), "LOG_DRAIN"
    else:
        told, whose = asked(Bot.of(url), repo, environment, "drain/test"), f"the log drain of {environment}"
    if json:
        showing.as_json(told)
    else:
        well = told["state"] == "sent"
        showing.said(f"{whose} took it" if well else f"{whose} did not take it: {told['reason']}")
    if told["state"] != "sent":
        raise typer.Exit(Ended.NOT_SO)


def _behind(one: dict[str, Any]) -> str:
    if not one["behind"]:
        return "-"
    unit, size = next((unit, size) for unit, size in _UNITS if one["behind"] >= size)
    waits = f", {showing.ago(one['waiting_since'])}" if one["waiting_since"] else ""
    return f"{one['behind'] // size} {unit}{waits}"


def _state(one: dict[str, Any]) -> str:
    if not one["problem"]:
        return "well"
    since = f"failing for {showing.ago(one['failing_since'])}: " if one["failing_since"] else ""
    return f"{since}{one['problem']}"
