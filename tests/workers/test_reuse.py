"""What git alone tells of a build's inputs, and what only files on a disk can."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.githost import TOKEN, GitHost
from tests.workers.test_inputs import made
from workers.checkout import Commit
from workers.contract.messages import Credentials, Source
from workers.git import Git
from workers.inputs import Texts
from workers.mirrors import Mirrors
from workers.reuse import _texts_in, _texts_of

Committed = Callable[[dict[str, str]], Commit]


@pytest.fixture
def committed(tmp_path: Path) -> Committed:
    """A commit with these files; a text that begins with an arrow is where a link leads to."""

    def committed(files: dict[str, str]) -> Commit:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(text[1:]) if text.startswith("→") else path.write_text(text)
        run = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(tmp_path)]
        for argv in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=one"]):
            subprocess.run([*run, *argv], check=True)
        sha = subprocess.run([*run, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
        return Commit(Git(os.environ, tmp_path / ".git"), tmp_path, sha.stdout.strip())

    return committed


PLAIN = {"Dockerfile": "FROM a", "web/Dockerfile": "FROM b", "web/app": "x"}


@pytest.mark.parametrize(
    ("files", "more", "texts"),
    [
        ({}, {}, Texts(b"FROM a", b"", ".")),
        ({}, {"context": "web", "dockerfile": "web/Dockerfile"}, Texts(b"FROM b", b"", "web")),
        ({}, {"context": "./web/", "dockerfile": "./Dockerfile"}, Texts(b"FROM a", b"", "web")),
        ({"Dockerfile.dockerignore": "*.md"}, {}, Texts(b"FROM a", b"*.md", ".")),
    ],
)
async def test_git_tells_the_same_as_the_files(
    committed: Committed, tmp_path: Path, files: dict[str, str], more: dict[str, Any], texts: Texts
) -> None:
    spec = made(**{"context": ".", **more})
    assert await _texts_of(committed({**PLAIN, **files}), spec) == texts
    assert _texts_in(tmp_path, spec) == texts


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ({"Dockerfile": "→web/Dockerfile"}, {}),
        ({"link": "→web"}, {"context": "link"}),
        ({"link": "→web"}, {"dockerfile": "link/Dockerfile"}),
        ({"Dockerfile.dockerignore": "→web/app"}, {}),
        ({}, {"context": "web/app"}),
        ({}, {"context": "nowhere"}),
        ({}, {"dockerfile": "nowhere"}),
        ({}, {"dockerfile": "web/../Dockerfile"}),
        ({}, {"submodules": True}),
    ],
)
async def test_what_git_alone_cannot_tell_is_left_to_the_files(
    committed: Committed, files: dict[str, str], more: dict[str, Any]
) -> None:
    commit = committed({**PLAIN, **files})
    spec = made(**{"context": ".", **{key: more[key] for key in more if key != "submodules"}})
    if "submodules" in more:
        spec = spec.model_copy(update={"source": spec.source.model_copy(update=more)})
    assert await _texts_of(commit, spec) is None


async def test_a_commit_whose_files_are_needless_is_known_without_any(git: GitHost, tmp_path: Path) -> None:
    sha = git.commit({"Dockerfile": "FROM a\n", "large": "x" * 100_000})
    source = Source(repository="acme/shop", clone_url=git.url, sha=sha)
    login = Credentials(git_username="x-access-token", git_password=TOKEN)
    (folder := tmp_path / "attempt").mkdir()
    asked: list[str | None] = []

    async def needless(commit: Commit) -> bool:
        asked.append(await commit.object("Dockerfile"))
        return True

    found = await Mirrors(tmp_path / "mirrors", os.environ).checkout(source, login, folder, print, needless)

    assert asked == [git.ask("rev-parse", f"{sha}:Dockerfile")]
    assert found.tree == git.ask("rev-parse", f"{sha}^{{tree}}")
    assert not list(found.folder.glob("*"))
