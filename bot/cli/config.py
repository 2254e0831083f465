"""`blacktree config`: a repository's `.blacktree.yml`, looked at without an instance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import ConfigError
from config.repository import FILE, Repository, parse
from config.yaml import fault, load

app = typer.Typer(help="A repository's .blacktree.yml.", no_args_is_help=True)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="the file, or the folder that it is in")] = Path("."),
) -> None:
    """Check a .blacktree.yml, and that its paths exist in the checkout. Exits 1 if it has faults."""
    file = path / FILE if path.is_dir() else path
    try:
        text = _text(file, optional=path.is_dir())
        config = parse(text)
        faults = outside(config, file.parent, load(text) if text else None)
    except ConfigError as error:
        faults = str(error).splitlines()
    if faults:
        for line in faults:
            typer.echo(f"{file}{line.removeprefix(FILE)}" if line.startswith(FILE) else line)
        raise typer.Exit(1)
    counted = f"{_many(len(config.images), 'image')}, {_many(len(config.environments), 'environment')}"
    typer.echo(
        f"{file} is fine: {counted}" if text is not None else f"{file.parent}: no {FILE}, the defaults fit"
    )


@app.command()
def schema() -> None:
    """Print the JSON Schema of .blacktree.yml, for editors."""
    from config.schema import schema as made

    typer.echo(json.dumps(made(), indent=2))


def outside(config: Repository, folder: Path, data: Any) -> list[str]:
    """What the images name that is not in the checkout, or that a symlink leads out of it."""
    root, faults = folder.resolve(), []
    for name, image in config.images.items():
        for key, kind in (("context", "folder"), ("dockerfile", "file")):
            relative = getattr(image, key)
            if sentence := _misplaced(root, relative, kind):
                faults.append(fault(data, ("images", name, key), sentence))
    return faults


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


def _text(file: Path, optional: bool) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        if optional:
            return None
        raise ConfigError(f"{FILE}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{FILE}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{FILE}: is not UTF-8") from None


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
