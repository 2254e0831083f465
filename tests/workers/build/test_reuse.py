"""What git alone tells of a build's inputs, and what only files on a disk can."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.build.test_inputs import made
from tests.workers.source.githost import TOKEN, GitHost
from workers.build.inputs import Texts
from workers.build.reuse import _texts_in, _texts_of
from workers.contract.failure import Failure
from workers.contract.messages import Credentials, Fault, Source
from workers.source.checkout import Commit
from workers.source.git import Git
from workers.source.mirrors import Mirrors

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


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        (["Containerfile"], {}, "write `dockerfile: Containerfile` for the image in .blacktree.yml"),
        (["dockerfile"], {}, "write `dockerfile: dockerfile`"),
        (
            ["web/Dockerfile.prod"],
            {"dockerfile": "web/Dockerfile"},
            "write `dockerfile: web/Dockerfile.prod`",
        ),
        (["Dockerfile.dockerignore", "dockerfiles"], {}, "add it, or name another one"),
        ([], {"dockerfile": "../../Dockerfile"}, "lies outside"),
        ([], {"dockerfile": "x" * 300}, "add it, or name another one"),
        ([], {"dockerfile": "loop"}, "There is no loop in this commit"),
        (["Dockerfile"], {"context": "loop"}, "There is no folder loop in this commit"),
        (["Dockerfile"], {"context": "x" * 300}, "in this commit to build in"),
        (["Dockerfile"], {"context": "out"}, "lies outside"),
    ],
)
def test_what_is_not_there_is_said_with_what_there_is(
    tmp_path: Path, files: list[str], more: dict[str, str], said: str
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "out").symlink_to("/etc")
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(Failure, match=re.escape(said)) as failed:
        _texts_in(tmp_path, made(**{"context": ".", **more}))
    assert failed.value.fault is Fault.USER


def test_a_dockerfile_whose_name_leaves_no_room_for_its_ignore_file_has_none(tmp_path: Path) -> None:
    (tmp_path / ("D" * 250)).write_text("FROM a")
    (tmp_path / "E.dockerignore").symlink_to("/etc/hostname")
    (tmp_path / "E").write_text("FROM a")
    for name in ("D" * 250, "E"):
        assert _texts_in(tmp_path, made(context=".", dockerfile=name)).ignored == b""


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
