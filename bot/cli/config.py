"""`blacktree config`: a repository's `.blacktree.yml`, looked at without an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import ConfigError
from config.faults import fault
from config.importing import folder
from config.importing.written import written
from config.recipes.folder import look
from config.recipes.table import NAMES, is_made, recipe
from config.repository import FILE, Repository, parse
from config.yaml import load

app = typer.Typer(help="A repository's .blacktree.yml.", no_args_is_help=True)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="the file, or the folder that it is in")] = Path("."),
) -> None:
    """Check a .blacktree.yml, and that its paths exist in the checkout. Exits 1 if it has faults.

    Of a folder without one its compose.yaml is looked at, as a push of it would be.
    """
    file = path / FILE if path.is_dir() else path
    left_out: tuple[str, ...] = ()
    try:
        said = folder.said(path) if path.is_dir() else _said(file)
        file, left_out, text, config = file.with_name(said.name), said.left_out, said.text, said.config
        faults = outside(config, file.parent, load(text) if text else None)
    except ConfigError as error:
        faults = str(error).splitlines()
    for line in left_out:
        typer.echo(_placed(line, file))
    if faults:
        for line in faults:
            typer.echo(_placed(line, file))
        raise typer.Exit(1)
    counted = f"{_many(len(config.images), 'image')}, {_many(len(config.environments), 'environment')}"
    if left_out:
        counted += f", {_many(len(left_out), 'thing')} left out"
    is_there = text is not None or said.name != FILE
    typer.echo(f"{file} is fine: {counted}" if is_there else f"{file.parent}: no {FILE}, the defaults fit")


def _placed(line: str, file: Path) -> str:
    """With the path from here, where a line begins with the name of a file that was read."""
    name = line.partition(":")[0]
    if name == FILE:
        return f"{file}{line.removeprefix(FILE)}"
    return line if Path(name).is_absolute() else f"{file.parent / name}{line.removeprefix(name)}"


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="compose.yaml, a Procfile, or Kamal's config/deploy.yml")],
    shown: Annotated[bool, typer.Option("--print", help="print it, and write nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
) -> None:
    """Write a .blacktree.yml from another tool's file, with comments for what is not carried over."""
    text = written(folder.imported(file, folder.below(file)))
    if shown:
        typer.echo(text, nl=False)
        return
    there = folder.top(file) / FILE
    kept(there, text, force=force)
    typer.echo(f"{there} is written: read its comments, then `blacktree config check`")


def kept(file: Path, text: str, *, force: bool) -> None:
    """Write a file that is not there yet. Raises ConfigError."""
    if file.is_symlink():  # of a repository that somebody else wrote, to any file of this machine
        raise ConfigError(f"{file} is a link to elsewhere: remove it first")
    try:
        with file.open("w" if force else "x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{file} is there already: --force writes over it, --print shows what would be"
        ) from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None


@app.command()
def schema() -> None:
    """Print the JSON Schema of .blacktree.yml, for editors."""
    from config.schema import schema as made

    typer.echo(json.dumps(made(), indent=2))


def outside(config: Repository, top: Path, data: Any) -> list[str]:
    """What the images name that is not in the checkout, or that a symlink leads out of it."""
    root, faults = top.resolve(), []
    for name, image in config.images.items():
        if image.source:  # nothing of it is here
            continue
        for key, kind in (("context", "folder"), ("dockerfile", "file")):
            relative = getattr(image, key)
            sentence = _misplaced(root, relative, kind)
            if sentence and key == "dockerfile" and is_made(image.context, relative):
                sentence = _unmade(root / relative, root / image.context, sentence)
            if sentence:
                faults.append(fault(data, ("images", name, key), sentence))
    return faults


def _unmade(place: Path, context: Path, sentence: str) -> str:
    """Empty where a worker makes the Dockerfile that is missing."""
    if not sentence.startswith("there is no") or not context.is_dir():
        return sentence
    if place.is_symlink() or place.exists():
        return f"{place.name} is no file: a folder, or a link to what is not there"
    if others := sorted(one.name for one in place.parent.iterdir() if NAMES.fullmatch(one.name)):
        return f"{sentence}, but {others[0]}: name it as `dockerfile`, or rename it"
    try:
        recipe(look(context))
    except ConfigError as error:
        return f"{sentence}, and none can be made: {error}"
    return ""


def _misplaced(root: Path, relative: str, kind: str) -> str:
    try:
        place = (root / relative).resolve()
        if not place.is_relative_to(root):
            return f"{relative} leads out of the checkout through a symlink"
        if not (place.is_dir() if kind == "folder" else place.is_file()):
            return f"there is no {kind} {relative}"
    except (OSError, RuntimeError) as error:  # RuntimeError: symlinks in a circle
        return f"{relative} cannot be read: {error}"
    return ""


def _said(file: Path) -> folder.Said:
    """Of one file, whatever it is called."""
    text = folder.read(file, FILE)
    if text is None:
        raise ConfigError(f"{FILE}: there is no such file")
    return folder.Said(file.name, text, parse(text))


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
