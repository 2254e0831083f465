"""What a folder on this machine says about itself, as a commit would: `.blacktree.yml`, else Compose."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import ConfigError
from config.importing import kamal, procfile, repository
from config.importing.found import Found
from config.importing.written import sniffed
from config.repository import FILE, Repository, parse


@dataclass(frozen=True)
class Said:
    """The file that was read, its text, what it means, and what of it is not carried over."""

    name: str
    text: str | None
    config: Repository
    left_out: tuple[str, ...] = ()


def said(folder: Path) -> Said:
    """Raises ConfigError with what is wrong."""
    text = read(folder / FILE, FILE)
    if text is None and (file := repository.named(_names(folder))):
        found = imported(folder / file)
        return Said(file, None, found.repository(), tuple(found.left_out))
    return Said(FILE, text, parse(text))


def imported(file: Path, below: str = "") -> Found:
    """What a Compose file, a Procfile or Kamal's deploy.yml means. Raises ConfigError.

    `below`: the folder of the repository that it is in, if that is not its top.
    """
    text = read(file, file.name)
    if text is None:
        raise ConfigError(f"{file}: there is no such file")
    kind = sniffed(file.name, text)
    if kind == "procfile":
        return procfile.found(file.name, text)
    return kamal.found(file.name, text) if kind == "kamal" else _compose(file, text, below)


def top(file: Path) -> Path:
    """The repository's top: the checkout's, of a Compose file. Kamal's file is in `config` of it."""
    folder = file.parent
    if file.name.startswith("deploy.") and folder.resolve().name == "config":
        return folder.parent
    upwards = [folder, *folder.resolve().parents] if file.suffix in (".yaml", ".yml") else []
    return next((one for one in upwards if (one / ".git").exists()), folder)


def below(file: Path) -> str:
    """The folder that a file is in, from the repository's top; empty if that is the top."""
    path = file.parent.resolve().relative_to(top(file).resolve()).as_posix()
    return "" if path == "." else path


def read(file: Path, name: str) -> str | None:
    """A file's text, None where there is none. Raises ConfigError, by `name`."""
    try:
        return file.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: is not UTF-8") from None


def _compose(file: Path, text: str, below: str) -> Found:
    """Its paths are from its own folder on."""
    names, name = _names(file.parent), posixpath.join(below, file.name)
    texts = {path: read(file.parent / path, path) for path in repository.asked(name, text, names)}
    found = repository.found(name, text, {path: one for path, one in texts.items() if one is not None}, names)
    images = found.data["images"]
    found.data["images"] = {key: _from_top(one, below) for key, one in images.items()} if below else images
    return found


def _from_top(image: dict[str, Any], below: str) -> dict[str, Any]:
    """An image with its paths from the repository's top on."""
    usual = {"context": ".", "dockerfile": "Dockerfile"}
    paths = {key: posixpath.normpath(posixpath.join(below, image.get(key, usual[key]))) for key in usual}
    return {**image, **paths}


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be read: {error.strerror}") from None
