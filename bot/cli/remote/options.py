"""The options that these commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option("--url", help="of the bot; else that of the last `blacktree login`")]
Json = Annotated[bool, typer.Option("--json", help="for programs")]
Repo = Annotated[
    str | None, typer.Option("--repo", "-R", metavar="OWNER/REPO", help="else the checkout's that you are in")
]
Why = Annotated[str | None, typer.Option("--why", help="kept with the release")]
Actor = Annotated[
    str | None, typer.Option("--as", metavar="LOGIN", help="who wants it, for locks and `deployers`")
]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="until it has ended; exits 1 if it does not go well")
]
Environment = Annotated[str, typer.Argument(metavar="ENVIRONMENT")]
