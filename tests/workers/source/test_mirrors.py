from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.workers.source.githost import TOKEN, GitHost
from workers.contract.failure import Failure
from workers.contract.messages import Credentials, Fault, Source
from workers.source import mirror as one
from workers.source import mirrors as many
from workers.source.checkout import Checkout
from workers.source.mirrors import Mirrors

LOGIN = Credentials(git_username="x-access-token", git_password=TOKEN)
MEGABYTE = 1024 * 1024

Take = Callable[..., Coroutine[Any, Any, Checkout]]


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return Mirrors(tmp_path / "mirrors", os.environ)


@pytest.fixture
def said() -> list[str]:
    """What was written to the job's log."""
    return []


@pytest.fixture
def take(mirrors: Mirrors, git: GitHost, tmp_path: Path, said: list[str]) -> Take:
    """Checks a commit of acme/shop out in a new folder, `attempt-…`."""

    async def take(sha: str, *, repository: str = "acme/shop", **more: Any) -> Checkout:
        fields = {"repository": repository, "clone_url": git.url_of(repository), "sha": sha, **more}
        folder = tmp_path / f"attempt-{time.monotonic_ns()}"
        folder.mkdir()
        return await mirrors.checkout(Source.model_validate(fields), LOGIN, folder, said.append, lag=())

    return take


def contents(found: Checkout) -> dict[str, str]:
    files = (path for path in found.folder.rglob("*") if path.is_file())
    return {str(path.relative_to(found.folder)): path.read_text() for path in files}


def only_mirror(tmp_path: Path) -> Path:
    (mirror,) = (tmp_path / "mirrors").iterdir()
    return mirror


def packs(tmp_path: Path) -> list[Path]:
    return sorted((only_mirror(tmp_path) / "objects" / "pack").glob("*.pack"))


def ask(tmp_path: Path, *arguments: str) -> str:
    command = ["git", f"--git-dir={only_mirror(tmp_path)}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


# -- what is fetched ---------------------------------------------------------------------------------


async def test_a_one_line_push_to_a_large_repository_fetches_only_the_line(
    git: GitHost, take: Take, tmp_path: Path
) -> None:
    big = {f"data/{number}": os.urandom(10 * MEGABYTE) for number in range(5)}
    first = git.commit({**big, "line": "one\n", "other": "other\n"})
    await take(first)
    assert git.served > 50 * MEGABYTE
    git.served = 0
    second = git.commit({"line": "one\ntwo\n"}, on=first)
    found = await take(second)
    assert git.served < 8 * 1024
    assert (found.folder / "line").read_text() == "one\ntwo\n"
    assert (found.folder / "data/4").read_bytes() == big["data/4"]
    size = sum(file.stat().st_size for file in only_mirror(tmp_path).rglob("*") if file.is_file())
    assert size < 51 * MEGABYTE
    forced = git.commit({"line": "forced\n"}, on=first)
    git.served = 0
    await take(forced)
    assert git.served < 8 * 1024
    git.served = git.fetches = 0
    await take(second)
    assert git.served == git.fetches == 0
    assert ask(tmp_path, "rev-list", "--count", second) == "1"


async def test_history_is_as_deep_as_asked_for(git: GitHost, take: Take, tmp_path: Path) -> None:
    sha = git.commit({"a": "0"})
    for number in range(1, 5):
        sha = git.commit({"a": str(number)}, on=sha)
    assert contents(await take(sha)) == {"a": "4"}
    assert contents(await take(sha, depth=3)) == {"a": "4"}
    assert ask(tmp_path, "rev-list", "--count", sha) == "3"


# -- several at once ---------------------------------------------------------------------------------


async def test_jobs_of_one_repository_at_once_do_not_meet(git: GitHost, take: Take, tmp_path: Path) -> None:
    shas = [git.commit({"a": f"{number}"}) for number in range(4)]
    found = await asyncio.gather(*(take(sha) for sha in shas * 3))
    assert [contents(checkout) for checkout in found] == [{"a": f"{number}"} for number in range(4)] * 3
    assert git.fetches == 4
    assert ask(tmp_path, "fsck", "--no-dangling") == ""


async def test_a_mirror_may_be_removed_and_packed_while_jobs_use_it(
    git: GitHost, take: Take, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_PACKS", 0)
    shas = [git.commit({"a": f"{number}"}) for number in range(3)]

    async def pruned() -> list[str]:
        return [name for _ in range(4) for name in await mirrors.prune(0)]

    pruning = asyncio.create_task(pruned())
    found = await asyncio.gather(*(take(sha) for sha in shas * 3))
    assert [contents(checkout) for checkout in found] == [{"a": f"{number}"} for number in range(3)] * 3
    assert set(await pruning) <= {git.url}


# -- what is broken heals ----------------------------------------------------------------------------


def _truncate_packs(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.chmod(0o600)
        os.truncate(pack, pack.stat().st_size // 2)


def _flip_bytes(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.chmod(0o600)
        content = bytearray(pack.read_bytes())
        content[20:-20] = bytes(255 - byte for byte in content[20:-20])
        pack.write_bytes(content)


def _lose_packs(mirror: Path) -> None:
    for pack in mirror.rglob("*.pack"):
        pack.unlink()


def _lose_indexes(mirror: Path) -> None:
    for index in mirror.rglob("*.idx"):
        index.unlink()


def _garble_indexes(mirror: Path) -> None:
    for index in mirror.rglob("*.idx"):
        index.chmod(0o600)
        index.write_bytes(b"garbage" * 300)


def _leave_locks(mirror: Path) -> None:
    (ref,) = (mirror / "refs/commits").iterdir()
    for lock in (
        "shallow.lock",
        "HEAD.lock",
        "config.lock",
        "packed-refs.lock",
        f"refs/commits/{ref.name}.lock",
    ):
        (mirror / lock).touch()
    (mirror / "objects/pack/tmp_pack_123456").write_bytes(b"PACK half")
    (mirror / "objects/pack/pack-1.pack").write_bytes(b"PACK half")
    (mirror / "objects/pack/pack-2.keep").touch()


def _be_a_file(mirror: Path) -> None:
    shutil.rmtree(mirror)
    mirror.write_text("garbage")


def _be_garbage(mirror: Path) -> None:
    shutil.rmtree(mirror)
    (mirror / "objects").mkdir(parents=True)
    for name in ("HEAD", "config", "refs", "shallow", "objects/pack"):
        (mirror / name).write_text("garbage")


def _garble(name: str) -> Callable[[Path], None]:
    def garble(mirror: Path) -> None:
        for path in mirror.glob(name):
            path.write_text("garbage")

    garble.__name__ = f"_garble_{name}"
    return garble


def _lose_shallow(mirror: Path) -> None:
    (mirror / "shallow").unlink()


@pytest.mark.parametrize(
    "harm",
    [
        _truncate_packs, _flip_bytes, _lose_packs, _lose_indexes, _garble_indexes, _leave_locks, _be_a_file,
        _be_garbage, _garble("HEAD"), _garble("config"), _garble("shallow"), _garble("refs/commits/*"),
        _lose_shallow,
    ],
)  # fmt: skip
async def test_a_broken_mirror_heals_in_the_same_attempt(
    harm: Callable[[Path], None],
    git: GitHost,
    take: Take,
    tmp_path: Path,
    mirrors: Mirrors,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(many, "_PACKS", 0)
    root = git.commit({"a": "root"})
    first = git.commit({"a": "one", "b": "".join(map(str, range(5000)))}, on=root)
    second = git.commit({"a": "two"}, on=first)
    for sha, content in ((first, "one"), (second, "two")):
        await take(first)
        harm(only_mirror(tmp_path))
        assert contents(await take(sha))["a"] == content
        assert left(tmp_path) == []
        await mirrors.prune(100 * MEGABYTE)
        assert contents(await take(second))["a"] == "two"
        assert ask(tmp_path, "fsck", "--no-dangling") == ""
        await mirrors.prune(0)


async def test_an_unreachable_host_costs_no_mirror(
    git: GitHost, take: Take, tmp_path: Path, said: list[str]
) -> None:
    first = git.commit({"a": "one"})
    await take(first)
    kept = packs(tmp_path)
    second = git.commit({"a": "two"}, on=first)
    for fault in (502, 200):  # an error; then an answer that no git gives
        git.fault = fault
        with pytest.raises(Failure) as failed:
            await take(second)
        assert failed.value.reason == "git_unreachable"
    git.fault = 0
    assert packs(tmp_path) == kept
    assert contents(await take(second)) == {"a": "two"}
    assert "made anew" not in "".join(said)


# -- cancelling --------------------------------------------------------------------------------------


def processes(tmp_path: Path) -> list[int]:
    """Those of attempts and mirrors."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                about = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if any(f"{tmp_path}/{folder}".encode() in about for folder in ("attempt-", "mirrors/")):
                found.append(int(process.name))
    return found


def left(tmp_path: Path) -> list[object]:
    """Processes, and what is unfinished in mirrors."""
    found: list[object] = [*processes(tmp_path)]
    for path in (tmp_path / "mirrors").rglob("*"):
        unfinished = path.name.startswith(("tmp", ".tmp", "gone-", "incomplete"))
        if unfinished or path.suffix in (".lock", ".keep", ".part"):
            found.append(path)
    return found


def fetch_begins(git: GitHost, _: Path) -> bool:
    return git.fetching.is_set()


def half_a_pack_is_here(git: GitHost, tmp_path: Path) -> bool:
    return git.half.is_set() and any((tmp_path / "mirrors").rglob("tmp_pack_*"))


def files_are_laid_out(_: GitHost, tmp_path: Path) -> bool:
    return any(tmp_path.glob("attempt-*/tree/many/*"))


def half_an_lfs_object_is_here(git: GitHost, tmp_path: Path) -> bool:
    return git.half.is_set() and any(tmp_path.glob("mirrors/*/lfs/incomplete/*"))


def a_submodule_is_fetched(git: GitHost, tmp_path: Path) -> bool:
    return git.half.is_set() and len(list((tmp_path / "mirrors").iterdir())) == 2


@pytest.mark.parametrize(
    "moment",
    [
        fetch_begins,
        half_a_pack_is_here,
        files_are_laid_out,
        half_an_lfs_object_is_here,
        a_submodule_is_fetched,
    ],
)
async def test_a_cancelled_checkout_leaves_nothing_but_a_mirror_that_works(
    moment: Callable[[GitHost, Path], bool], git: GitHost, take: Take, tmp_path: Path
) -> None:
    noise = os.urandom(MEGABYTE).hex()
    files: dict[str, str | bytes] = {"a": "a"}
    more: dict[str, Any] = {}
    links: dict[str, str] = {}
    if moment is files_are_laid_out:
        files |= {f"many/{number}": f"{number}" for number in range(3000)}
    elif moment is half_an_lfs_object_is_here:
        files |= {".gitattributes": "a filter=lfs\n", "a": git.in_lfs(os.urandom(MEGABYTE))}
        more = {"lfs": True}
    elif moment is a_submodule_is_fetched:
        links["lib"] = git.commit({"noise": noise}, repository="acme/lib")
        files[".gitmodules"] = '[submodule "x"]\n\tpath = lib\n\turl = ../lib\n'
        more = {"submodules": True}
    else:
        files["noise"] = noise
    sha = git.commit(files, links=links)
    if moment is fetch_begins:
        git.before_fetch.clear()
    elif moment is not files_are_laid_out:
        git.rest.clear()
    while True:
        running = asyncio.create_task(take(sha, **more))
        async with asyncio.timeout(90):
            while not (moment(git, tmp_path) or running.done()):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        if left(tmp_path):
            break
        assert moment is files_are_laid_out, "the others last until they are let go on"
        shutil.rmtree((await running).folder)  # all were there before we had a look
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    assert left(tmp_path) == []
    git.before_fetch.set()
    git.rest.set()
    found = await take(sha, **more)
    assert len(list(found.folder.rglob("*"))) >= len(files)


async def test_what_a_killed_git_leaves_is_in_nobodys_way(git: GitHost, take: Take, tmp_path: Path) -> None:
    sha = git.commit({"noise": os.urandom(MEGABYTE).hex()})
    git.rest.clear()
    running = asyncio.create_task(take(sha))
    async with asyncio.timeout(90):
        while not half_a_pack_is_here(git, tmp_path):  # noqa: ASYNC110
            await asyncio.sleep(0.002)
    for process in processes(tmp_path):
        with contextlib.suppress(ProcessLookupError):  # its parent's end was its own
            os.kill(process, signal.SIGKILL)
    with pytest.raises(Failure) as failed:
        await running
    assert failed.value.fault is Fault.OURS
    git.rest.set()
    assert len(contents(await take(sha))["noise"]) == 2 * MEGABYTE
    assert left(tmp_path) == []


# -- pruning -----------------------------------------------------------------------------------------


async def test_what_was_not_used_for_longest_goes_first(
    git: GitHost, take: Take, mirrors: Mirrors, tmp_path: Path
) -> None:
    names = ["acme/one", "acme/two", "acme/three"]
    shas = {name: git.commit({"noise": os.urandom(MEGABYTE).hex()}, repository=name) for name in names}
    for name, sha in shas.items():
        await take(sha, repository=name)
    assert await mirrors.prune(5 * MEGABYTE) == []
    _age(tmp_path)
    await take(shas["acme/one"], repository="acme/one")
    (tmp_path / "mirrors" / "gone-123").mkdir()
    assert await mirrors.prune(3 * MEGABYTE) == [git.url_of("acme/two")]
    assert len(list((tmp_path / "mirrors").iterdir())) == 2
    git.before_fetch.clear()
    git.fetching.clear()
    newer = git.commit({"a": "a"}, repository="acme/one")
    running = asyncio.create_task(take(newer, repository="acme/one"))
    await git.fetching.wait()
    assert await mirrors.prune(0) == [git.url_of("acme/three")]
    git.before_fetch.set()
    assert contents(await running) == {"a": "a"}


def _age(tmp_path: Path) -> None:
    """Times of use are told apart, however quick the test was."""
    for number, file in enumerate(
        sorted(tmp_path.glob("mirrors/*/origin"), key=lambda file: file.stat().st_mtime)
    ):
        os.utime(file, (number, number))


async def test_old_commits_and_their_files_are_forgotten(
    git: GitHost, take: Take, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_PACKS", 3)
    monkeypatch.setattr(one, "_KEPT", 2)
    attributes = {".gitattributes": "lfs filter=lfs\n"}
    shas: list[str] = []
    contents_of: list[bytes] = []
    for _ in range(4):
        noise = os.urandom(MEGABYTE // 2)
        contents_of.append(noise)
        shas.append(git.commit({**attributes, "noise": noise.hex(), "lfs": git.in_lfs(noise)}))
        await take(shas[-1], lfs=True)
    await take(shas[0], lfs=True)
    assert len(packs(tmp_path)) == 4
    assert await mirrors.prune(100 * MEGABYTE) == []
    assert len(packs(tmp_path)) == 1
    assert sorted(path.name for path in only_mirror(tmp_path).glob("refs/commits/*")) == sorted(shas[::3])
    assert len(list(only_mirror(tmp_path).glob("lfs/objects/*/*/*"))) == 2
    assert ask(tmp_path, "count-objects", "-v").splitlines()[0] == "count: 0"
    git.downloads.clear()
    git.fetches = 0
    for sha in shas[::3]:
        await take(sha, lfs=True)
    assert (git.downloads, git.fetches) == ([], 0)
    found = await take(shas[1], lfs=True)
    assert (found.folder / "lfs").read_bytes() == contents_of[1]


async def test_a_mirror_that_cannot_be_packed_is_removed(
    git: GitHost, take: Take, mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_PACKS", 0)
    sha = git.commit({"a": "a", "b": "b" * 5000})
    await take(sha)
    _flip_bytes(only_mirror(tmp_path))
    await mirrors.prune(100 * MEGABYTE)
    assert list((tmp_path / "mirrors").iterdir()) == []
