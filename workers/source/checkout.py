"""The files of one commit, without a .git folder among them, and what else is to be known of the commit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from workers.contract.failure import Failure, final, ours, user
from workers.contract.messages import Source
from workers.process.threads import to_the_end
from workers.source import submodules
from workers.source.git import Access, Git, GitFailed, last_line

_TOP = PurePosixPath(".")
_LATEST = 253_402_300_799  # the last second of the year 9999
_DIGITS = 20  # of the largest number that git reads
FOLDER, FILES = "040000", ("100644", "100755")  # git's modes
_DENIED = (
    "authentication failed", "could not read username", "could not read password", "error: 401", "error: 403",
    "authentication required", "authorization error", "credentials for",
)  # fmt: skip
# git-lfs as a filter, which fetches what is checked out and no more (its `install` sets the same).
_LFS = (
    "filter.lfs.process=git-lfs filter-process", "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.clean=git-lfs clean -- %f", "filter.lfs.required=true", "lfs.skipdownloaderrors=false",
)  # fmt: skip
_ALL_OF_A_MESSAGE = (
    4000  # characters, about, after which git cuts it: a path that long leaves no room for why
)
_OBJECT = re.compile(r"([0-9a-f]{64}) [*-] ")  # as `git lfs ls-files --long` lists it


@dataclass(frozen=True)
class Commit:
    """A commit in a git folder of the attempt's own, which needs no mirror."""

    git: Git
    tree: Path
    sha: str

    async def object(self, path: str) -> str | None:
        """git's id of the file or folder at `path`; None if there is none."""
        place = PurePosixPath(path)
        name = "" if place == _TOP else str(place)
        try:
            answer = await self.git.ask("rev-parse", "--verify", "--quiet", f"{self.sha}:{name}")
        except GitFailed:
            return None
        return answer.splitlines()[-1] if answer else None

    async def entries(self, *paths: PurePosixPath) -> dict[PurePosixPath, tuple[str, str]]:
        """The mode and id of those that this very commit has, behind no link. Raises GitFailed."""
        listing = await self.git.ask("ls-tree", "-z", "--full-tree", self.sha, "--", *map(str, paths))
        entries = (entry.partition("\t") for entry in listing.split("\0") if entry)
        return {PurePosixPath(path): (about.split(" ")[0], about.split(" ")[2]) for about, _, path in entries}

    async def text(self, blob: str) -> str:
        """A file by its id. Raises GitFailed."""
        return await self.git.ask("cat-file", "blob", blob)


@dataclass(frozen=True)
class Checkout:
    """A commit's files."""

    folder: Path
    tree: str
    committed_at: int  # seconds since 1970, as the committer's machine had it; up to the year 9999
    commits: Mapping[PurePosixPath, Commit] = field(default_factory=dict, repr=False)

    async def object(self, path: str) -> str | None:
        """git's id of the file or folder at `path`, in whichever submodule; None if there is none."""
        asked = PurePosixPath(path)
        if asked.is_absolute() or ".." in asked.parts:
            return None
        for place in (asked, *asked.parents):
            if place in self.commits:
                inside = asked.relative_to(place)
                return await self.commits[place].object(str(inside))
        return None


async def described(folder: Path, commits: Mapping[PurePosixPath, Commit]) -> Checkout:
    """The checkout in `folder`, whose `commits` are laid out in it. Raises Failure."""
    top = commits[_TOP]
    # Not `git show`, which reads .gitmodules and may die of it.
    answer = await top.git.ask("rev-list", "--no-walk", "--format=%H %T %ct", top.sha)
    head, tree, seconds = answer.splitlines()[-1].split(" ")
    if head != top.sha:
        raise final("bad_commit", f"The checkout is at {head} instead of {top.sha}")
    return Checkout(folder, tree, committed_at(seconds), commits)


def committed_at(said: str) -> int:
    """git's `%ct`. Its dates go on for ever, but neither ours nor BuildKit's go beyond the year 9999."""
    seconds = said.strip()
    return min(int(seconds), _LATEST) if seconds.isdecimal() and len(seconds) <= _DIGITS else 0


async def lay_out(
    commit: Commit, source: Source, access: Access, lfs: Path, output: Callable[[str], None]
) -> None:
    """Put the commit's files into its work tree; those in Git LFS are kept in `lfs`.

    Raises Failure, and GitFailed where nothing but broken objects explains it.
    """
    login = access.to(source.clone_url)
    settings: list[str] = []
    if source.sparse:
        settings += ["core.sparseCheckout=true", "core.sparseCheckoutCone=false"]
        await to_the_end(_write_patterns, commit.git.folder, source.sparse)
    if source.lfs:
        settings += [*_LFS, f"lfs.url={await _lfs_url(commit, source)}", f"lfs.storage={lfs}"]
        login = access.to(access.url)  # git-lfs speaks to several hosts, and askpass answers for one
    try:
        await commit.git.run(
            "checkout", "--quiet", "--force", "--detach", source.sha,
            output=output, login=login, settings=settings,
        )  # fmt: skip
    except GitFailed as failed:
        failure = why_not_laid_out(failed.said, source)
        if failure is None:
            raise
        raise failure from None


async def lfs_objects(git: Git, sha: str) -> set[str]:
    """The ids of all files in Git LFS that a commit has. Raises GitFailed."""
    found: set[str] = set()

    def collect(line: str) -> None:
        if match := _OBJECT.match(line):
            found.add(match[1])

    await git.run("lfs", "ls-files", "--long", sha, output=collect)
    return found


def _write_patterns(folder: Path, patterns: list[str]) -> None:
    (folder / "info").mkdir(exist_ok=True)
    (folder / "info" / "sparse-checkout").write_text("".join(f"{pattern}\n" for pattern in patterns))


async def _lfs_url(commit: Commit, source: Source) -> str:
    """The LFS server. A repository may name another one, but no file and no program (.lfsconfig can both)."""
    try:
        url = await commit.git.ask("config", "--blob", f"{source.sha}:.lfsconfig", "lfs.url")
    except GitFailed:
        url = ""
    if url.startswith(("http://", "https://")):
        return url
    clone_url = source.clone_url.removesuffix("/")
    return clone_url + ("/info/lfs" if clone_url.endswith(".git") else ".git/info/lfs")


async def submodules_of(commit: Commit, source: Source) -> dict[PurePosixPath, Source]:
    """What is to be laid out where in the commit's work tree, which is there. Raises Failure."""
    if await commit.object(".gitmodules") is None:
        return {}
    try:
        said = await commit.git.ask(
            "config", "-z", "--blob", f"{commit.sha}:.gitmodules", "--get-regexp", submodules.KEYS
        )
    except GitFailed as failed:
        if not failed.said:
            return {}
        raise user("bad_gitmodules", f".gitmodules is not understood: {last_line(failed.said)}") from None
    urls = {entry.path: entry.url for entry in submodules.parse(said)}
    if not urls:
        return {}
    listing = await commit.git.ask("ls-tree", "-z", "--full-tree", commit.sha, "--", *urls)
    found: dict[PurePosixPath, Source] = {}
    for path, sha in submodules.links(listing).items():
        if path in urls and await to_the_end(_is_own_folder, commit.tree, path):
            url = submodules.resolve(source.clone_url, urls[path])
            name = f"the submodule {path if path.isprintable() else ascii(path):.200} ({url})"
            found[PurePosixPath(path)] = source.model_copy(
                update={"repository": name, "clone_url": url, "sha": sha, "depth": 1, "sparse": []}
            )
    return found


def _is_own_folder(tree: Path, path: str) -> bool:
    """Whether git made the submodule's folder: not where it is left out, and never behind a link."""
    place = tree / path
    return place.is_dir() and place.resolve() == tree.resolve() / path


def check(source: Source, path: str | None) -> None:
    """Raises Failure where a checkout of `source` cannot be tried. `path` is where programs are."""
    if len(source.sha) not in (40, 64) or source.sha.strip("0123456789abcdef"):
        raise final("bad_commit", f"{source.sha!r} is no full commit SHA")
    if urlsplit(source.clone_url).scheme not in ("http", "https"):
        raise final("bad_clone_url", f"{source.clone_url} is neither http nor https")
    if source.lfs and shutil.which("git-lfs", path=path) is None:
        raise final(
            "no_git_lfs",
            f"{source.repository} needs Git LFS, and this worker has no git-lfs: install it there (Debian's"
            " package is named git-lfs)",
        )


def why(said: str, source: Source) -> Failure:
    """What `git fetch` meant."""
    text = said.lower()
    short = source.sha[:12]
    if any(words in text for words in ("not our ref", "couldn't find remote ref", "no such remote ref")):
        return user(
            "commit_missing", f"{source.repository} has no commit {short} any more: was it force-pushed away?"
        )
    if any(denial in text for denial in _DENIED):
        host = urlsplit(source.clone_url).hostname or "GitHub"
        return final(
            "git_denied",
            f"{host} refused the login for {source.repository}: check the token, or the App's installation",
        )
    if "not found" in text or "error: 404" in text:
        return user(
            "repository_missing",
            f"{source.repository} is not there: was it deleted, or does the App's installation leave it out?",
        )
    if "no space left" in text:
        return ours("disk_full", "The worker's disk is full")
    return ours("git_unreachable", f"{source.repository} could not be fetched: {last_line(said)}")


def why_not_laid_out(said: str, source: Source) -> Failure | None:
    """What `git checkout` meant; None where the objects are to blame."""
    text = said.lower()
    if "no space left" in text:
        return ours("disk_full", "The worker's disk is full")
    if "file name too long" in text or max(map(len, said.splitlines()), default=0) > _ALL_OF_A_MESSAGE:
        return user(
            "bad_path",
            "A path in this commit is longer than file systems take, 255 characters for a name and 4,096 for"
            f" all of it: shorten it ({last_line(said)}…)",
        )
    if "invalid path" in text:
        return user("bad_path", f"git refuses a path in this commit: {last_line(said)}")
    if not any(words in text for words in ("smudge", "git-lfs", "batch response", "lfs:")):
        return None
    if "does not exist" in text:
        return user(
            "lfs_object_missing",
            f"A file of {source.repository} is not on its Git LFS server: push it with `git lfs push --all`",
        )
    words = _lfs_words(said)
    if "quota" in text:
        return final("lfs_quota", f"Git LFS refuses {source.repository}: {words}")
    if any(denial in text for denial in _DENIED):
        return final("lfs_denied", f"Git LFS refused the login for {source.repository}: {words}")
    if "repository or object not found" in text:
        return user("lfs_missing", f"{source.repository} has no Git LFS for this login: {words}")
    return ours("lfs_unreachable", f"Git LFS files of {source.repository} were not fetched: {words}")


def _lfs_words(said: str) -> str:
    for mark in ("batch response: ", "Smudge error: "):
        if mark in said:
            return said.split(mark, 1)[1].splitlines()[0][:200]
    return last_line(said)
