"""`blacktree why`: what happened to a commit, a pull request, a run or a job, in order."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.style import Style
from rich.text import Text

from bot.cli.remote import checkout, showing
from bot.cli.remote.asking import Bot
from bot.cli.remote.options import Json, Repo, Url
from config.errors import ConfigError


def why(
    what: Annotated[
        str | None,
        typer.Argument(metavar="[COMMIT|URL]", help="or '#42', a branch, a run, a job; else where you are"),
    ] = None,
    repo: Repo = None,
    url: Url = None,
    json: Json = False,
) -> None:
    """What happened to it, in order: delivery, decision, gates, jobs, reuse, release, traffic, reports."""
    place = checkout.here()
    asked = what or place.sha
    if not asked:
        raise ConfigError("say what: a commit, '#42', a branch, a run, a job, or an address")
    bot = Bot.of(url)
    told = bot.get("/why", q=asked, repository=repo or place.repository or None)
    if json:
        return showing.as_json(told)
    console = Console()
    subject = " ".join(filter(None, (told["repository"], told["sha"][:7])))
    console.print(Text(f"{subject}: {told['verdict']}", "bold"), soft_wrap=True)
    for one in told["entries"]:
        link = f"{bot.url}{one['link']}" if one["link"].startswith("/") else one["link"]
        at = datetime.fromisoformat(one["at"]).astimezone()
        line = Text(f"{at:%Y-%m-%d %H:%M:%S}  ", "dim") + Text(f"{one['kind']:<9} ", "bold")
        line.append(one["what"], showing.COLOURS.get(one["state"], ""))
        if console.is_terminal and link:
            line.stylize(Style(link=link))
            console.print(line, soft_wrap=True)
        else:
            console.print(line + Text(f"  {link}" if link else ""), soft_wrap=True)
    return None
