"""What was found out about a folder: the values of its kind's template."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from config.importing.compose_values import name
from config.importing.procfile import argv, commands
from config.processes import WEB
from config.recipes.folder import Folder

RELEASE = "release"
_MOST_VERSION = 100  # characters


class Unsure(Exception):
    """What a kind of project could not be found out about; its text says what to do."""


@dataclass(frozen=True)
class Recipe:
    """How one folder's image is built and run."""

    kind: str  # the template's name
    title: str  # for people: Python 3.13 with uv
    seen: tuple[str, ...]  # the files that told it
    values: Mapping[str, Any]  # the template's
    command: Sequence[str]
    port: int | None
    processes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # besides `web`
    release: Sequence[str] | None = None
    ignored: Sequence[str] = ()  # what its builds need not be sent, besides the usual
    hints: Sequence[str] = ()  # what may be worth a line in the .blacktree.yml


@dataclass(frozen=True)
class Ways:
    """What a Procfile says, if there is one."""

    web: Sequence[str] | None = None
    release: Sequence[str] | None = None
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)


def ways(folder: Folder) -> Ways:
    said = {key: argv(command) for key, command in commands(folder.text("Procfile")).items()}
    called: dict[str, str] = {}
    for key in said:
        if called.setdefault(name(key), key) != key:
            raise Unsure(
                f"the Procfile's {key} would be called {name(key)}, as another is: name it otherwise"
            )
    if called.get(WEB, WEB) != WEB:
        raise Unsure(f"the Procfile's {called[WEB]} is no {WEB}: write it in small letters")
    others = {key: command for key, command in said.items() if key not in (WEB, RELEASE)}
    return Ways(said.get(WEB), said.get(RELEASE), others)


def version(text: object, known: Sequence[str], default: str) -> str:
    """The newest of `known` (newest first) that fits what is wanted: 3.12, >=3.11,<3.13, ^3.11, v22.1.0."""
    wanted = " ".join(str(text or "").split())[:_MOST_VERSION]
    if not wanted:
        return default
    able = [
        one for one in known if all(_fits(one, part) for part in re.split(r"[,\s]+(?=[<>=~^!])|,", wanted))
    ]
    if default in able:
        return default
    if able:
        return able[0]
    # What is newer or older than all that is known here is taken by its word.
    newer = re.search(r"(?:^|[,\s]|[^<!]=|[~^>])\s*v?([0-9]+(?:\.[0-9]+)*)", wanted)
    return ".".join(newer[1].split(".")[: default.count(".") + 1]) if newer else default


def _fits(one: str, part: str) -> bool:
    found = re.search(r"(?P<how>[<>=~^!]*)\s*v?(?P<number>[0-9]+(?:\.[0-9]+)*)", part)
    if found is None:
        return True
    have = tuple(map(int, one.split(".")))
    want = tuple(map(int, found["number"].split(".")))
    cut = want[: len(have)]
    how = found["how"]
    if how == "<":
        return have < want
    if how == "<=":
        return have <= cut
    if how == ">":
        return have > cut or (have == cut and len(want) > len(have))
    if how == ">=":
        return have >= cut
    if how == "!=":
        return have != cut
    if how == "^":
        return have >= cut and have[0] == want[0]
    if how == "~=":
        return have >= cut and have[: max(1, len(want) - 1)] == want[: max(1, len(want) - 1)][: len(have)]
    return have[: len(cut)] == cut[: len(have)]
