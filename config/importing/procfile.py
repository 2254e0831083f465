"""A Procfile ▸ a `.blacktree.yml`: https://devcenter.heroku.com/articles/procfile"""

from __future__ import annotations

import re
from typing import Any

from config.errors import ConfigError
from config.habits import split_command
from config.importing.compose_values import name
from config.importing.found import Found, Notebook
from config.processes import PREVIEW, WEB

PORT = 8080  # what `web` is told to listen on
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+):[ \t]*(?P<command>\S.*)")
_RELEASE = "release"  # https://devcenter.heroku.com/articles/release-phase
_USES_PORT = re.compile(r"\$\{?PORT\b")


def commands(text: str) -> dict[str, str]:
    """The command of each process, by its name."""
    found = map(_LINE.fullmatch, (line.strip() for line in text.splitlines()))
    return {line["name"]: line["command"].strip() for line in found if line}


def argv(command: str) -> list[str]:
    """Program and arguments; a shell where only one can read it."""
    try:
        return list(split_command(command))
    except ValueError:
        simple = not re.search(r"[|&;<>()\n]|\A\s*\w+=", command)
        return ["sh", "-c", f"exec {command}" if simple else command]


def found(file: str, text: str) -> Found:
    """What it means. Raises ConfigError where there is nothing in it."""
    said, notebook = commands(text), Notebook(None)
    if not said:
        raise ConfigError(
            f"{file}: has no process: write lines such as `web: gunicorn app:app --bind 0.0.0.0:$PORT`"
        )
    place: dict[str, Any] = {}
    if _RELEASE in said:
        place["release_command"] = argv(said.pop(_RELEASE))
    processes: dict[str, Any] = {}
    for key, command in said.items():
        one: dict[str, Any] = {"command": argv(command)}
        if key == WEB or _USES_PORT.search(command):
            one |= {"port": PORT, "env": {"PORT": str(PORT)}}
        if name(key) in processes:
            raise ConfigError(f"{file}: {key} would be called {name(key)}, as another is: name it otherwise")
        if name(key) != key:
            notebook.leave_out((key,), f"is called {name(key)} here")
        processes[name(key)] = one
    if WEB not in said:
        notebook.leave_out((), "has no `web`: visitors reach none of its processes")
    place |= {"processes": processes} if processes else {}
    notebook.leave_out(
        (),
        "says nothing of how its image is built: where there is no Dockerfile, `blacktree init` writes one",
    )
    return Found(
        file, {"images": {"app": {}}, "environments": {"production": place, PREVIEW: place}}, notebook.notes
    )
