from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.workers.conftest import TOKEN, GitHost
from workers.checkout import checkout, why
from workers.contract.messages import Credentials, Fault, Source
from workers.failure import Failure

LOGIN = Credentials(git_username="x-access-token", git_password=TOKEN)


def source(git: GitHost, sha: str) -> Source:
    return Source(repository="acme/shop", clone_url=git.url, sha=sha)


async def test_the_exact_commit_is_checked_out_without_a_git_folder(git: GitHost, tmp_path: Path) -> None:
    first = git.commit({"Dockerfile": "FROM one\n", "sub/a": "a"})
    git.commit({"Dockerfile": "FROM two\n"})
    found = await checkout(source(git, first), LOGIN, tmp_path, os.environ, print)
    assert (found.folder / "Dockerfile").read_text() == "FROM one\n"
    assert sorted(path.name for path in found.folder.iterdir()) == ["Dockerfile", "sub"]
    assert len(found.tree) == 40


async def test_the_token_is_in_no_command_line_environment_or_file(git: GitHost, tmp_path: Path) -> None:
    sha = git.commit({"a": "a"})
    git.before_fetch.clear()
    folder = tmp_path / "work"
    folder.mkdir()
    running = asyncio.create_task(checkout(source(git, sha), LOGIN, folder, os.environ, print))
    await asyncio.wait_for(git.fetching.wait(), 10)
    own = str(os.getpid())
    seen = b""
    for process in Path("/proc").iterdir():  # noqa: ASYNC240
        if process.name.isdigit() and process.name != own:
            for file in ("cmdline", "environ"):
                try:
                    seen += (process / file).read_bytes()
                except OSError:
                    continue
    git.before_fetch.set()
    found = await running
    assert b"git-remote-http" in seen
    assert TOKEN.encode() not in seen
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    assert all(TOKEN.encode() not in path.read_bytes() for path in files)
    assert (found.folder / "a").exists()


async def test_a_wrong_token_is_said(git: GitHost, tmp_path: Path) -> None:
    sha = git.commit({"a": "a"})
    login = Credentials(git_username="x-access-token", git_password="wrong")
    with pytest.raises(Failure, match="refused the login for acme/shop") as failed:
        await checkout(source(git, sha), login, tmp_path, os.environ, print)
    assert failed.value.fault is Fault.FINAL


async def test_a_commit_that_is_gone_is_the_users_to_know(git: GitHost, tmp_path: Path) -> None:
    git.commit({"a": "a"})
    with pytest.raises(Failure, match="has no commit 000000000000") as failed:
        await checkout(source(git, "0" * 39 + "1"), LOGIN, tmp_path, os.environ, print, lag=(0.01,))
    assert failed.value.fault is Fault.USER


async def test_a_repository_that_is_gone_is_the_users_to_know(git: GitHost, tmp_path: Path) -> None:
    gone = Source(repository="acme/gone", clone_url=git.url.replace("shop", "gone"), sha="1" * 40)
    with pytest.raises(Failure, match="acme/gone is not there") as failed:
        await checkout(gone, LOGIN, tmp_path, os.environ, print, lag=())
    assert failed.value.reason == "repository_missing"


@pytest.mark.parametrize(
    "url", ["file:///etc", "ssh://git@github.com/a/b", "ext::sh -c id", "--upload-pack=x"]
)
async def test_only_http_is_cloned(url: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="neither http nor https"):
        await checkout(
            Source(repository="a/b", clone_url=url, sha="1" * 40), LOGIN, tmp_path, os.environ, print
        )


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "git_unreachable"),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 502", "git_unreachable"),
        ("fatal: unable to access 'https://x/': The requested URL returned error: 403", "git_denied"),
        ("remote: Repository not found.\nfatal: repository 'https://x/' not found", "repository_missing"),
        ("fatal: remote error: upload-pack: not our ref 123", "commit_missing"),
        ("fatal: write error: No space left on device", "disk_full"),
    ],
)
def test_gits_complaints_are_understood(said: str, reason: str) -> None:
    assert why(said, Source(repository="a/b", clone_url="", sha="1" * 40)).reason == reason
