"""`blacktree init`: a Dockerfile and a `.blacktree.yml` for a folder that has none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot.cli.config import kept
from config.errors import ConfigError
from config.importing import repository as importing
from config.recipes.folder import look
from config.recipes.rendering import blacktree_yml, dockerfile, ignored
from config.recipes.table import recipe
from config.repository import FILE


def init(
    path: Annotated[Path, typer.Argument(help="the repository's folder")] = Path("."),
    shown: Annotated[bool, typer.Option("--print", help="print them, and write nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="write over files that are there")] = False,
) -> None:
    """Look at a folder, and write the Dockerfile, .dockerignore and .blacktree.yml that it needs.

    What is there already is left alone.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder")
    folder = look(path)
    found = recipe(folder)
    typer.echo(f"{found.title}, as told by {', '.join(found.seen)}", err=shown)
    texts = {"Dockerfile": dockerfile(found), ".dockerignore": ignored(found), FILE: blacktree_yml(found)}
    compose = importing.named(folder.paths)
    if compose and FILE not in folder:
        typer.echo(f"{compose} says what runs: no {FILE} is written", err=shown)
        del texts[FILE]
    for name, text in texts.items():
        if shown:
            typer.echo(f"── {name}\n{text}")
        elif (path / name).exists() and not force:
            typer.echo(f"{path / name} is there already, and left alone: --force writes over it")
        else:
            kept(path / name, text, force=force)
            typer.echo(f"{path / name} is written")
    if not shown:
        typer.echo("Next: look at them, try `blacktree run --serve`, commit and push")
