"""`blacktree exec`: a command in what runs, as if it ran here."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from bot.cli.remote import checkout, logins
from bot.cli.remote.asking import Bot, fail, refusal
from bot.cli.remote.looking import found_place
from bot.cli.remote.options import Repo, Url
from config.processes import WEB

_AFTER = "blacktree command"  # in a context: what stands after `--`


class Dashed(TyperCommand):
    """A command that takes what stands after `--` for another one's, and touches nothing of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_AFTER] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def exec_(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ENVIRONMENT")],
    process: Annotated[str, typer.Argument(metavar="[PROCESS]", help="of its release")] = WEB,
    no_terminal: Annotated[
        bool, typer.Option("--no-terminal", "-T", help="pipes, as where the input is no terminal")
    ] = False,
    repo: Repo = None,
    url: Url = None,
) -> None:
    """Run a command in a container of what is live: `-- COMMAND`, or a shell where none is given.

    It ends as the command does; with 255 where the line to it breaks.
    """
    from bot.cli.remote import terminal

    login = logins.found(url)
    place = found_place(Bot(login), checkout.wanted(repo), environment)
    line = f"{login.url.replace('http', 'ws', 1)}/api/v1/environments/{place['id']}/exec"
    try:
        wanted = terminal.wants(context.meta[_AFTER], process, interactive=not no_terminal)
        code = asyncio.run(terminal.run(line, login.token, wanted))
    except terminal.Refused as refused:
        fail(*refusal(login.url, refused.status, refused.body))
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None
    except terminal.Broken as broken:
        fail(str(broken), terminal.BROKEN)
    raise typer.Exit(code)
