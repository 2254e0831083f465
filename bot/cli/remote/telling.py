"""`blacktree notify` and `blacktree webhooks`: who is told beside GitHub."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from bot.cli.remote import checkout, showing
from bot.cli.remote.asking import Bot, Ended
from bot.cli.remote.options import Json, Repo, Url

notify = typer.Typer(help="Channels that are told what goes wrong.", no_args_is_help=True)
webhooks = typer.Typer(help="Webhooks: addresses that are told what happens.", no_args_is_help=True)

Instance = Annotated[bool, typer.Option("--instance", help="the instance's, instead of a repository's")]
Number = Annotated[int, typer.Argument(metavar="WEBHOOK", min=1, help="its number, as `list` has it")]
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="its name")]
Most = Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="of how many")]
Sent = Annotated[int, typer.Argument(metavar="DELIVERY", min=1, help="as `deliveries` has it")]
Events = Annotated[
    list[str] | None, typer.Option("--on", help="an event, such as release or crash; all if left out")
]


@notify.command("list")
def channels(instance: Instance = False, repo: Repo = None, url: Url = None, json: Json = False) -> None:
    """The channels, and how the last message of each went."""
    rows = Bot.of(url).get(_at("channels", instance, repo))
    if json:
        return showing.as_json(rows)
    shown = [
        (one["name"], "NOTIFY" if one["instance"] else one["secret"], ", ".join(one["on"]), _last(one))
        for one in rows
    ]
    return showing.table(("channel", "address", "on", "last message"), shown, "there are no channels")


@notify.command("test")
def try_channel(
    channel: Channel,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send a channel a message. Exits 1 if it does not take it."""
    told = Bot.of(url).post(f"{_at('channels', instance, repo)}/{channel}/test")
    _outcome(channel, told, json)


@webhooks.command("list")
def list_(instance: Instance = False, repo: Repo = None, url: Url = None, json: Json = False) -> None:
    """The webhooks."""
    rows = Bot.of(url).get(_at("webhooks", instance, repo))
    if json:
        return showing.as_json(rows)
    shown = [
        (str(one["id"]), one["repository"] or "all", one["url"], ", ".join(one["events"]), _state(one))
        for one in rows
    ]
    columns = ("webhook", "repository", "address", "on", "state")
    return showing.table(columns, shown, "there are no webhooks")


@webhooks.command()
def create(
    address: Annotated[str, typer.Argument(metavar="URL")],
    on: Events = None,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Tell an address what happens. Prints the secret that requests are signed with, this once."""
    made = Bot.of(url).post(_at("webhooks", instance, repo), {"url": address, "events": on or None})
    if json:
        return showing.as_json(made)
    return showing.said(
        f"webhook {made['id']} is told; its secret, which nobody can tell again:\n{made['secret']}"
    )


@webhooks.command()
def delete(webhook: Number, instance: Instance = False, repo: Repo = None, url: Url = None) -> None:
    """Tell it no more."""
    Bot.of(url).delete(f"{_at('webhooks', instance, repo)}/{webhook}")
    showing.said(f"webhook {webhook} is told no more")


@webhooks.command("test")
def try_webhook(
    webhook: Number, instance: Instance = False, repo: Repo = None, url: Url = None, json: Json = False
) -> None:
    """Send it a ping. Exits 1 if it does not take it; one that was disabled and does is so no more."""
    told = Bot.of(url).post(f"{_at('webhooks', instance, repo)}/{webhook}/test")
    _outcome(f"webhook {webhook}", told, json)


@notify.command("deliveries")
def told(
    channel: Channel,
    most: Most = 20,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """What it was sent, the newest first, and what came of it."""
    _deliveries(url, f"{_at('channels', instance, repo)}/{channel}", most, json)


@webhooks.command()
def deliveries(
    webhook: Number,
    most: Most = 20,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """What it was sent, the newest first, and what came of it."""
    _deliveries(url, f"{_at('webhooks', instance, repo)}/{webhook}", most, json)


@notify.command("redeliver")
def tell_again(
    channel: Channel,
    delivery: Sent,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Tell it something again, with what else it is owed then."""
    _redeliver(url, f"{_at('channels', instance, repo)}/{channel}", delivery, json)


@webhooks.command()
def redeliver(
    webhook: Number,
    delivery: Sent,
    instance: Instance = False,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """Send it something again."""
    _redeliver(url, f"{_at('webhooks', instance, repo)}/{webhook}", delivery, json)


def _deliveries(url: str | None, at: str, most: int, json: bool) -> None:
    rows = Bot.of(url).all(f"{at}/deliveries", most)
    if json:
        return showing.as_json(rows)
    shown = [
        (str(one["id"]), one["guid"], one["event"], showing.ago(one["created_at"]), _sent(one))
        for one in rows
    ]
    columns = ("delivery", "guid", "event", "ago", "outcome")
    return showing.table(columns, shown, "it was sent nothing yet")


def _redeliver(url: str | None, at: str, delivery: int, json: bool) -> None:
    told = Bot.of(url).post(f"{at}/deliveries/{delivery}/redeliver")
    if json:
        return showing.as_json(told)
    return showing.said(f"it is sent again, as {told['id']}")


def _at(what: str, instance: bool, repo: str | None) -> str:
    return f"/{what}" if instance else f"/repositories/{checkout.wanted(repo)}/{what}"


def _outcome(what: str, told: dict[str, Any], json: bool) -> None:
    if json:
        showing.as_json(told)
    elif told["state"] == "sent":
        showing.said(f"{what} took it")
    else:
        showing.said(f"{what} did not take it: {_sent(told)}")
    if told["state"] != "sent":
        raise typer.Exit(Ended.NOT_SO)


def _sent(one: dict[str, Any]) -> str:
    tries = f" after {one['attempts']} tries" if one["attempts"] > 1 else ""
    return f"{one['state']}{tries}" + (f": {one['reason']}" if one["reason"] else "")


def _last(one: dict[str, Any]) -> str:
    if not one["last"]:
        return "none yet"
    return f"{one['last']} {showing.ago(one['last_at'])} ago" + (
        f": {one['reason']}" if one["reason"] else ""
    )


def _state(one: dict[str, Any]) -> str:
    if one["disabled"]:
        return f"disabled: {one['disabled']}"
    return f"failing for {showing.ago(one['failing_since'])}" if one["failing_since"] else "well"
