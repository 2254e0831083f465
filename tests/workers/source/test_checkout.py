from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.workers.bot import Bot
from tests.workers.build.test_build import left, spec
from tests.workers.source.githost import TOKEN, GitHost, serving
from workers.build.build import labels
from workers.contract.failure import Failure
from workers.contract.messages import Credentials, Fault, Source, Stopped, Succeeded
from workers.process.process import run
from workers.source.checkout import Checkout, why, why_not_laid_out
from workers.source.git import access
from workers.source.mirrors import Mirrors
from workers.source.submodules import Submodule, parse, resolve

LOGIN = Credentials(git_username="x-access-token", git_password=TOKEN)

Take = Callable[..., Coroutine[Any, Any, Checkout]]


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    return Mirrors(tmp_path / "mirrors", os.environ)


@pytest.fixture
def take(mirrors: Mirrors, git: GitHost, tmp_path: Path) -> Take:
    """Checks a commit of acme/shop out in a new folder."""

    async def take(sha: str, *, lag: tuple[float, ...] = (), **more: Any) -> Checkout:
        fields = {"repository": "acme/shop", "clone_url": git.url, "sha": sha, **more}
        folder = tmp_path / f"work-{time.monotonic_ns()}"
        folder.mkdir()
        return await mirrors.checkout(Source.model_validate(fields), LOGIN, folder, print, lag=lag)

    return take


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


async def test_the_exact_commit_is_checked_out_without_a_git_folder(git: GitHost, take: Take) -> None:
    first = git.commit({"Dockerfile": "FROM one\n", "sub/a": "a"})
    git.commit({"Dockerfile": "FROM two\n"})
    found = await take(first)
    assert (found.folder / "Dockerfile").read_text() == "FROM one\n"
    assert names(found.folder) == ["Dockerfile", "sub/a"]
    assert abs(found.committed_at - time.time()) < 100


@pytest.fixture
def umask() -> Iterator[None]:
    """A worker that was started with UMask=0077, as hardened services are."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
async def test_files_have_gits_modes_whatever_the_workers_umask_is(git: GitHost, take: Take) -> None:
    lib = git.commit({"c": "c"}, repository="acme/lib")
    modules = '[submodule "lib"]\n\tpath = lib\n\turl = ../lib.git\n'
    pointer = git.in_lfs(b"large")
    files = {"a": "a", "d/e": "e", ".gitmodules": modules, ".gitattributes": "l filter=lfs\n", "l": pointer}
    first = git.commit(files, links={"lib": lib}, executable=["d/e"])

    found = await take(first, submodules=True, lfs=True)

    for path, mode in {
        ".": 0o755,
        "a": 0o644,
        "d": 0o755,
        "d/e": 0o755,
        "lib": 0o755,
        "lib/c": 0o644,
        "l": 0o644,
    }.items():
        assert (found.folder / path).stat().st_mode & 0o777 == mode, path


@pytest.mark.parametrize("year", [9_999, 10_000, 584_554_049_253])
async def test_a_commit_of_the_far_future_is_dated_to_the_last_second_that_docker_knows(
    git: GitHost, take: Take, year: int
) -> None:
    later = git.commit({"a": "a"}, date=f"@{min((year - 1970) * 31_557_600, 2**63 - 1)} +0000")

    found = await take(later)

    assert (
        labels(spec(git, later, "x"), found.committed_at)["org.opencontainers.image.created"]
        <= "9999-12-31T23:59:59Z"
    )
    assert found.committed_at > 253_000_000_000


@pytest.mark.parametrize("path", ["f" * 300, "/".join(["d" * 250] * 20)])
async def test_a_path_that_no_file_system_takes_is_the_users_to_know(
    git: GitHost, take: Take, path: str
) -> None:
    with pytest.raises(Failure, match="longer than file systems take") as failed:
        await take(git.commit_unseen(path))
    assert (failed.value.fault, failed.value.reason) == (Fault.USER, "bad_path")


async def test_what_a_path_was_is_known_after_the_mirror_is_gone(
    git: GitHost, take: Take, mirrors: Mirrors
) -> None:
    sha = git.commit({"Dockerfile": "FROM one\n", "sub/a": "a"})
    found = await take(sha)
    assert await mirrors.prune(0) == [git.url]
    assert await found.object(".") == found.tree == git.ask("rev-parse", f"{sha}^{{tree}}")
    assert await found.object("./sub/") == git.ask("rev-parse", f"{sha}:sub")
    assert await found.object("sub//a") == git.ask("rev-parse", f"{sha}:sub/a")
    assert [await found.object(path) for path in ("b", "../x", "/sub", "sub/a/b")] == [None] * 4


async def test_the_token_is_in_no_command_line_environment_or_file(
    git: GitHost, take: Take, tmp_path: Path
) -> None:
    sha = git.commit({"a": "a", "big": git.in_lfs(os.urandom(300_000)), ".gitattributes": "big filter=lfs\n"})
    git.before_fetch.clear()
    git.rest.clear()
    running = asyncio.create_task(take(sha, lfs=True))
    await asyncio.wait_for(git.fetching.wait(), 90)
    seen = everything_of_processes()
    git.before_fetch.set()
    await asyncio.wait_for(git.half.wait(), 90)
    seen += everything_of_processes()
    git.rest.set()
    found = await running
    assert b"git-remote-http" in seen
    assert b"git-lfs filter-process" in seen
    assert TOKEN.encode() not in seen
    files = [tmp_path / name for name in names(tmp_path)]
    assert len(files) > 5
    assert all(TOKEN.encode() not in file.read_bytes() for file in files)
    assert (found.folder / "big").stat().st_size == 300_000


def everything_of_processes() -> bytes:
    own = str(os.getpid())
    seen = b""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != own:
            for file in ("cmdline", "environ"):
                try:
                    seen += (process / file).read_bytes().replace(b"\0", b" ")
                except OSError:
                    continue
    return seen


async def test_a_wrong_token_is_said(git: GitHost, mirrors: Mirrors, tmp_path: Path) -> None:
    wanted = Source(repository="acme/shop", clone_url=git.url, sha=git.commit({"a": "a"}))
    login = Credentials(git_username="x-access-token", git_password="wrong")
    with pytest.raises(Failure, match="refused the login for acme/shop") as failed:
        await mirrors.checkout(wanted, login, tmp_path, print)
    assert failed.value.fault is Fault.FINAL


async def test_a_commit_that_is_gone_is_the_users_to_know(git: GitHost, take: Take) -> None:
    git.commit({"a": "a"})
    with pytest.raises(Failure, match="has no commit 000000000000") as failed:
        await take("0" * 39 + "1", lag=(0.01,))
    assert failed.value.fault is Fault.USER


async def test_a_commit_that_github_does_not_show_yet_is_asked_for_again(git: GitHost, take: Take) -> None:
    git.denied.add("acme/shop")
    sha = git.commit({"a": "a"})
    git.before_fetch.clear()
    running = asyncio.create_task(take(sha, lag=(0.01, 60)))
    while not git.refused:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    git.denied.clear()
    git.before_fetch.set()
    assert names((await asyncio.wait_for(running, 90)).folder) == ["a"]


async def test_a_repository_that_is_gone_is_the_users_to_know(git: GitHost, take: Take) -> None:
    with pytest.raises(Failure, match="acme/gone is not there") as failed:
        await take("1" * 40, repository="acme/gone", clone_url=git.url_of("acme/gone"))
    assert failed.value.reason == "repository_missing"


@pytest.mark.parametrize(
    "url", ["file:///etc", "ssh://git@github.com/a/b", "ext::sh -c id", "--upload-pack=x"]
)
async def test_only_http_is_cloned(url: str, take: Take) -> None:
    with pytest.raises(Failure, match="neither http nor https"):
        await take("1" * 40, clone_url=url)


# -- sparse ------------------------------------------------------------------------------------------


async def test_a_sparse_checkout_has_only_its_paths(git: GitHost, take: Take) -> None:
    lib = git.commit({"a": "lib"}, repository="acme/lib")
    modules = '[submodule "x"]\n\tpath = docs/x\n\turl = ../lib\n'
    files = {"Dockerfile": "", "api/a": "a", "api/b/c": "c", "docs/d": "d", ".gitmodules": modules}
    sha = git.commit(files, links={"docs/x": lib})
    found = await take(sha, sparse=["/Dockerfile", "api", "!api/b"], submodules=True)
    assert names(found.folder) == ["Dockerfile", "api/a"]
    assert await found.object(".") == git.ask("rev-parse", f"{sha}^{{tree}}")


# -- submodules --------------------------------------------------------------------------------------


async def test_submodules_are_fetched_all_the_way_down(git: GitHost, take: Take) -> None:
    inner = git.commit({"deep": "inner"}, repository="acme/inner")
    ssh = '[submodule "x"]\n\tpath = inner\n\turl = ssh://git@127.0.0.1/acme/inner.git\n'
    middle = git.commit({"m": "middle", ".gitmodules": ssh}, links={"inner": inner}, repository="acme/middle")
    git.commit({"m": "newer"}, repository="acme/middle")
    modules = (
        '[submodule "m"]\n\tpath = vendor/middle\n\turl = ../middle\n\tupdate = !touch /tmp/never\n'
        '[submodule "n"]\n\tpath = not/there\n\turl = ../nowhere\n'
        '[submodule "../o"]\n\tpath = ../outside\n\turl = ../nowhere\n'
    )
    sha = git.commit({"a": "a", ".gitmodules": modules}, links={"vendor/middle": middle})
    assert names((await take(sha)).folder) == [".gitmodules", "a"]
    found = await take(sha, submodules=True)
    vendor = found.folder / "vendor/middle"
    assert names(found.folder) == [
        ".gitmodules", "a",
        "vendor/middle/.gitmodules", "vendor/middle/inner/deep", "vendor/middle/m",
    ]  # fmt: skip
    assert (vendor / "m").read_text() == "middle"
    assert (vendor / "inner/deep").read_text() == "inner"
    assert not list(found.folder.rglob(".git"))
    deep = git.ask("rev-parse", f"{inner}:deep", repository="acme/inner")
    assert await found.object("vendor/middle/inner/deep") == deep


async def test_a_submodule_elsewhere_never_sees_the_token(git: GitHost, take: Take, tmp_path: Path) -> None:
    async with serving(tmp_path / "elsewhere") as other:
        sha = other.commit({"a": "a"})
        host = f"127.0.0.1:{other.port}"
        tricks = [
            f"http://x-access-token@{host}/acme/shop.git",
            f"http://127.0.0.1:{git.port}'%40@{host}/acme/shop.git",
            f"http://x@127.0.0.1:{git.port}'@{host}/acme/shop.git",
        ]
        for url in [other.url, *tricks]:
            modules = f'[submodule "x"]\n\tpath = lib\n\turl = "{url}"\n'
            parent = git.commit({".gitmodules": modules}, links={"lib": sha})
            with pytest.raises(Failure, match=r"refused the login for the sub|by http or https"):
                await take(parent, submodules=True)
        assert other.logins == set()
        other.public = True
        parent = git.commit({".gitmodules": modules.replace(url, other.url)}, links={"lib": sha})
        assert names((await take(parent, submodules=True)).folder) == [".gitmodules", "lib/a"]
        assert other.logins == set()


async def test_a_submodule_that_these_credentials_may_not_see_is_not_taken_from_the_mirror(
    git: GitHost, take: Take
) -> None:
    lib = git.commit({"a": "a"}, repository="acme/lib")
    sha = git.commit({".gitmodules": '[submodule "x"]\n\tpath = lib\n\turl = ../lib\n'}, links={"lib": lib})
    await take(sha, submodules=True)
    git.denied.add("acme/lib")
    with pytest.raises(Failure, match=r"the submodule lib .* is not there") as failed:
        await take(sha, submodules=True)
    assert failed.value.fault is Fault.USER


BASE = "https://u@github.example:8443/acme/shop.git"


@pytest.mark.parametrize(
    ("url", "resolved"),
    [
        ("../lib.git", "https://github.example:8443/acme/lib.git"),
        ("../../other/lib", "https://github.example:8443/other/lib"),
        ("./../lib", "https://github.example:8443/acme/lib"),
        ("./sub", "https://github.example:8443/acme/shop.git/sub"),
        ("git@github.example:acme/lib.git", "https://github.example:8443/acme/lib.git"),
        ("ssh://git@github.example:22/acme/lib.git", "https://github.example:8443/acme/lib.git"),
        ("git://GitHub.example/acme/lib.git", "https://github.example:8443/acme/lib.git"),
        ("https://GitHub.example:8443/acme/lib", "https://github.example:8443/acme/lib"),
        ("https://other.example/x.git", "https://other.example/x.git"),
        ("http://a:b@other.example:80/x.git", "http://other.example:80/x.git"),
        ("https://[::1]:8080/x", "https://[::1]:8080/x"),
        ("../../../../up", None),
        ("git@other.example:acme/lib.git", None),
        ("ssh://other.example/x", None),
        ("file:///etc", None),
        ("/etc", None),
        ("ext::sh -c id", None),
        ("--upload-pack=x", None),
        ("https://a'b/x", None),
        ("https://a\\@b/x", "https://b/x"),
        ("https://[x/y", None),
        ("https:///x", None),
        ("https://a/\u202ex", None),
        ("https://a/x\n", None),
    ],
)
def test_where_a_submodule_is(url: str, resolved: str | None) -> None:
    if resolved is not None:
        assert resolve(BASE, url) == resolved
        return
    with pytest.raises(Failure) as failed:
        resolve(BASE, url)
    assert failed.value.fault is Fault.USER


async def test_names_and_attributes_that_were_made_to_be_obeyed_are_names_and_attributes(
    git: GitHost, take: Take
) -> None:
    lib = git.commit({"-f": "f"}, repository="acme/lib")
    files = {
        "-rf": "x", "--upload-pack=touch owned": "x", "$(touch owned)": "x", "c": "$Id$\n",
        ".gitattributes": "* filter=evil diff=evil merge=evil\n",
        ".gitmodules": '[submodule "-x"]\n\tpath = -lib\n\turl = ../lib.git\n\tupdate = !touch owned\n',
    }  # fmt: skip
    sha = git.commit(files, links={"-lib": lib})

    found = await take(sha, submodules=True)

    assert names(found.folder) == sorted([*files, "-lib/-f"])
    assert {(found.folder / name).read_text() for name in ("-rf", "c")} == {"x", "$Id$\n"}


def test_entries_that_git_leaves_out_are_left_out() -> None:
    listing = (
        "submodule.a.b.path\nlib\0submodule.a.b.url\nold\0submodule.a.b.url\nnew\0submodule.c.path\nx\0"
        "submodule.d.url\ny\0submodule.e.path\ne\0submodule.e.url\ne\0submodule.e.update\nnone\0"
        "submodule.f.path\n../f\0submodule.f.url\nf\0submodule.g.path\n.\0submodule.g.url\ng\0submodule.h.url\0"
    )
    assert parse(listing) == [Submodule("lib", "new")]


# -- Git LFS -----------------------------------------------------------------------------------------

ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"


async def test_files_in_lfs_are_fetched_once(git: GitHost, take: Take) -> None:
    one, two, unseen = (f"{word} in lfs".encode() for word in ("one", "two", "unseen"))
    files = {".gitattributes": ATTRIBUTES, "a.bin": git.in_lfs(one), "docs/b.bin": git.in_lfs(unseen)}
    first = git.commit(files)
    pointers = await take(first)
    assert (pointers.folder / "a.bin").read_text() == files["a.bin"]
    for sha in (first, first, git.commit({"c.bin": git.in_lfs(two)}, on=first)):
        found = await take(sha, lfs=True, sparse=["/*", "!docs"])
        assert (found.folder / "a.bin").read_bytes() == one
    assert (found.folder / "c.bin").read_bytes() == two
    assert len(git.downloads) == 2


@pytest.mark.parametrize("content", [b"corrupt", b"short", b""])
async def test_a_broken_file_in_lfs_is_fetched_again(
    content: bytes, git: GitHost, take: Take, tmp_path: Path
) -> None:
    sha = git.commit({".gitattributes": ATTRIBUTES, "a.bin": git.in_lfs(b"correct")})
    await take(sha, lfs=True)
    (kept,) = (tmp_path / "mirrors").glob("*/lfs/objects/*/*/*")
    kept.chmod(0o600)
    kept.write_bytes(content)
    found = await take(sha, lfs=True)
    assert (found.folder / "a.bin").read_bytes() == b"correct"


async def test_what_an_lfs_server_answers_is_checked(git: GitHost, take: Take) -> None:
    sha = git.commit({".gitattributes": ATTRIBUTES, "a.bin": git.in_lfs(b"correct")})
    right = dict(git.lfs)
    git.lfs |= dict.fromkeys(right, b"changed")
    with pytest.raises(Failure, match="expected OID"):
        await take(sha, lfs=True)
    git.lfs |= right
    assert ((await take(sha, lfs=True)).folder / "a.bin").read_bytes() == b"correct"


async def test_files_in_lfs_that_cannot_be_had_are_explained(git: GitHost, take: Take) -> None:
    sha = git.commit({".gitattributes": ATTRIBUTES, "a.bin": git.in_lfs(b"a")})
    git.lfs.clear()
    with pytest.raises(Failure, match="git lfs push --all") as failed:
        await take(sha, lfs=True)
    assert failed.value.fault is Fault.USER
    git.denied.add("acme/shop.git/info/lfs")
    with pytest.raises(Failure, match="no Git LFS for this login: Repository or object not found") as failed:
        await take(sha, lfs=True)
    assert failed.value.fault is Fault.USER


async def test_a_worker_without_git_lfs_says_so(git: GitHost, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("git", "setpriv", "sh", "sed"):
        (programs / program).symlink_to(shutil.which(program) or "")
    wanted = Source(repository="acme/shop", clone_url=git.url, sha=git.commit({"a": "a"}), lfs=True)
    with pytest.raises(Failure, match="this worker has no git-lfs: install it") as failed:
        await Mirrors(tmp_path, {"PATH": str(programs)}).checkout(wanted, LOGIN, tmp_path, print)
    assert failed.value.fault is Fault.FINAL


async def test_lfsconfig_leads_to_no_file_and_no_token(git: GitHost, take: Take, tmp_path: Path) -> None:
    content = b"in lfs"
    files = {".gitattributes": ATTRIBUTES, "a.bin": git.in_lfs(content)}
    for url in (f"file://{git.bare}", "ssh://git@127.0.0.1/acme/shop.git"):
        sha = git.commit({**files, ".lfsconfig": f"[lfs]\n\turl = {url}\n"})
        assert ((await take(sha, lfs=True)).folder / "a.bin").read_bytes() == content
    async with serving(tmp_path / "elsewhere") as other:
        pointer = other.in_lfs(b"elsewhere")
        lfsconfig = f"[lfs]\n\turl = {other.url}/info/lfs\n"
        sha = git.commit({**files, "b.bin": pointer, ".lfsconfig": lfsconfig})
        with pytest.raises(Failure):
            await take(sha, lfs=True)
        assert other.logins == set()
        other.public = True
        assert ((await take(sha, lfs=True)).folder / "b.bin").read_bytes() == b"elsewhere"
        assert other.logins == set()


# -- what git says, and asks -------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error: unable to write file a: No space left on device", "disk_full"),
        ("error: invalid path '.git/config'", "bad_path"),
        ("Smudge error: a.bin: [a] Object does not exist on the server: [404] ...", "lfs_object_missing"),
        ("batch response: This repository is over its data quota.", "lfs_quota"),
        ("batch response: Authentication required: Authorization error: https://x", "lfs_denied"),
        ("batch response: Repository or object not found: https://x", "lfs_missing"),
        ("batch response: Fatal error: Server error: https://x", "lfs_unreachable"),
        ("error: inflate: data stream error (incorrect header check)", None),
        ("fatal: unable to read tree 123", None),
    ],
)
def test_what_keeps_files_from_being_laid_out_is_understood(said: str, reason: str | None) -> None:
    failure = why_not_laid_out(said, Source(repository="a/b", clone_url="", sha="1" * 40))
    assert (failure and failure.reason) == reason


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Username for 'https://h': ", "x-access-token"),
        ("Password for 'https://x-access-token@h': ", TOKEN),
        ('Username for "https://h"', "x-access-token"),
        ('Password for "https://x-access-token@h"', TOKEN),
        ("Username for 'http://h': ", None),
        ("Username for 'https://h:8443': ", None),
        ("Username for 'https://evil': ", None),
        ("Password for 'https://x@h'@evil': ", None),
        ("Password for 'https://x@h': '@evil': ", None),
        ('Password for "https://x@h\\"@evil"', None),
        ("Username for 'https://h': '@evil': ", None),
        ("Password for 'https://evil/@h': x", None),
        ("", None),
    ],
)
async def test_only_the_host_that_the_token_is_for_gets_it(
    question: str, answer: str | None, tmp_path: Path
) -> None:
    with access("https://h/acme/shop.git", LOGIN, tmp_path) as known:
        login = known.to("https://h/acme/lib.git")
        env = {"PATH": os.environ["PATH"], **login.variables}
        ended = await run([str(known.script), question], env=env, pass_fds=login.descriptors)
    assert (ended.code, ended.tail) == ((0, f"{answer}\n") if answer else (1, ""))


# -- in a worker -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("worker")
async def test_a_build_that_is_cancelled_in_its_checkout_leaves_no_folder(
    bot: Bot, git: GitHost, settings: Settings, name: str, base: str
) -> None:
    bot.credentials = LOGIN
    git.before_fetch.clear()
    sha = git.commit({"Dockerfile": f"FROM {base}\n"})
    await bot.offer("b", spec(git, sha, name))
    await asyncio.wait_for(git.fetching.wait(), 90)
    await bot.cancel(name, "b")
    ended = await bot.finished("b")
    assert isinstance(ended.result, Stopped)
    assert left(settings) == []
    git.before_fetch.set()
    ended = await bot.run("c", spec(git, sha, name))
    assert isinstance(ended.result, Succeeded), bot.log("c")
