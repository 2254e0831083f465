"""What has to be said about a project before it can be proven: app.py in a folder of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import httpx2

_FILE = "app.py"


class Edit(NamedTuple):
    """What in a file is put in place of what, and why."""

    file: str
    old: str
    new: str
    why: str = ""

    def done(self, folder: Path) -> str:
        """What the file says with it."""
        text = (folder / self.file).read_text()
        assert self.old in text, f"{self.file} has no {self.old!r}"
        return text.replace(self.old, self.new)


class App(Protocol):
    """A project, and how one sees from outside that it works. `http` is at the address of one environment."""

    repository: str  # OWNER/NAME at GitHub
    commit: str
    files: Mapping[str, str]  # what it gets besides: .blacktree.yml above all
    edits: Sequence[Edit]  # as few as can be
    first: str | None  # the task that is run once where an environment is new, if one is needed
    change: Edit  # what a pull request does

    async def shows(self, http: httpx2.AsyncClient) -> str:
        """A page on which what is changed can be read."""

    async def make(self, http: httpx2.AsyncClient, name: str) -> None:
        """Have the app keep something by this name in its database."""

    async def kept(self, http: httpx2.AsyncClient) -> set[str]:
        """The names of what was made."""

    async def worked(self, http: httpx2.AsyncClient) -> bool:
        """Whether its worker has done something; asked again and again until it has."""


def load(folder: Path) -> App:
    """What is said in that folder: `app` in its app.py."""
    spec = importlib.util.spec_from_file_location(f"proven_{folder.name}", folder / _FILE)
    assert spec is not None
    assert spec.loader is not None, f"{folder} has no {_FILE}"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: App = module.app
    return found
