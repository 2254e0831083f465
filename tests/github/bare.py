"""A bare repository on the server's side: what the API reads from it and writes to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from tests.github.git import GitError, git

ZERO = "0" * 40
HEX = frozenset("0123456789abcdef")
_PEELED = "^{commit}"
FORMAT = "%x01%H%x00%T%x00%P%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%B"

# What GitHub's servers allow: any reachable or dangling object by its SHA, partial clones; refs/pull is
# its own.
CONFIGURATION = """
[uploadpack]
    allowAnySHA1InWant = true
    allowReachableSHA1InWant = true
    allowFilter = true
[receive]
    hideRefs = refs/pull
    autogc = false
[http]
    receivepack = true
[gc]
    auto = 0
"""


@dataclass(frozen=True)
class Signature:
    name: str
    email: str
    date: datetime

    def environment(self, role: Literal["AUTHOR", "COMMITTER"]) -> dict[str, str]:
        return {
            f"GIT_{role}_NAME": self.name,
            f"GIT_{role}_EMAIL": self.email,
            f"GIT_{role}_DATE": self.date.isoformat(timespec="seconds"),
        }


@dataclass(frozen=True)
class GitCommit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class FileChange:
    path: str
    blob: str
    status: Literal["added", "removed", "modified"]
    additions: int = 0
    deletions: int = 0


@dataclass(frozen=True)
class Entry:
    """One line of a directory; size in bytes, None for what has none."""

    kind: str
    sha: str
    path: str
    size: int | None


@dataclass(frozen=True)
class Bare:
    path: Path
    # What git said of objects by their names, which never changes: the API asks it again and again.
    _known: dict[tuple[str, ...], bytes] = field(default_factory=dict, compare=False, repr=False)

    async def create(self, default_branch: str) -> None:
        self.path.mkdir(parents=True)
        await self.git("init", "--quiet", "--bare", "--template=", f"--initial-branch={default_branch}", ".")
        self.configure()

    def configure(self) -> None:
        with (self.path / "config").open("a") as config:
            config.write(CONFIGURATION)

    async def git(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        expect: tuple[int, ...] = (0,),
    ) -> bytes:
        return await git(*arguments, cwd=self.path, env=env, stdin=stdin, expect=expect)

    async def _of(self, *arguments: str, objects: Sequence[str], rest: Sequence[str] = ()) -> bytes:
        """What git says of objects; asked once where each is a whole name and not a ref."""
        command = (*arguments, *objects, *rest)
        whole = (name.removesuffix(_PEELED) for name in objects)
        if not all(len(name) == len(ZERO) and set(name) <= HEX for name in whole):
            return await self.git(*command)
        if command not in self._known:
            self._known[command] = await self.git(*command)
        return self._known[command]

    async def line(self, *arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> str:
        return (await self.git(*arguments, env=env, stdin=stdin)).decode().strip()

    async def first_commit(self, branch: str, files: Mapping[str, str | bytes], author: Signature) -> str:
        """A commit without a parent that holds `files`, made by plumbing in a bare repository."""
        by = f"{author.name} <{author.email}> {int(author.date.timestamp())} +0000"
        said = [f"commit refs/heads/{branch}\nmark :1\nauthor {by}\ncommitter {by}\n".encode()]
        said.append(_data(b"Initial commit"))
        for name, content in files.items():
            said.append(f"M 100644 inline {name}\n".encode())
            said.append(_data(content.encode() if isinstance(content, str) else content))
        said.append(b"get-mark :1\ndone\n")
        return await self.line("fast-import", "--quiet", "--done", stdin=b"".join(said))

    async def commit_tree(self, tree: str, parents: Sequence[str], message: str, author: Signature) -> str:
        flags = [flag for parent in parents for flag in ("-p", parent)]
        env = author.environment("AUTHOR") | author.environment("COMMITTER")
        return await self.line("commit-tree", tree, *flags, env=env, stdin=message.encode())

    async def update_ref(self, ref: str, sha: str | None) -> None:
        """Point `ref` at `sha`; None deletes it."""
        await self.git(*(["update-ref", ref, sha] if sha else ["update-ref", "-d", ref]))

    async def refs(self, prefix: str = "refs/") -> dict[str, str]:
        out = await self.git("for-each-ref", "--format=%(objectname) %(refname)", prefix)
        return {ref: sha for sha, _, ref in (line.partition(" ") for line in out.decode().splitlines())}

    async def object_type(self, sha: str) -> str:
        return await self.line("cat-file", "-t", sha)

    async def resolve(self, ref: str) -> str | None:
        """The commit that a SHA, a branch, a tag or heads/x or tags/x stands for."""
        names = [
            f"refs/heads/{ref}",
            f"refs/tags/{ref}",
            f"refs/{ref}",
            ref if ref.startswith("refs/") else "",
        ]
        if ref == "HEAD" or (len(ref) >= 7 and set(ref) <= HEX):
            names.insert(0, ref)
        for name in filter(None, names):
            found = (self._ref(name) if ".." not in name else None) or (name if name is ref else None)
            if found and (commit := await self._commit_of(found)):
                return commit
        return None

    def _ref(self, name: str) -> str | None:
        """What a ref points at, as git keeps it: https://git-scm.com/docs/gitrepository-layout."""
        try:
            said = (self.path / name).read_text().strip()
        except (OSError, ValueError):
            packed = self.path / "packed-refs"
            lines = packed.read_text().splitlines() if packed.exists() else []
            return next((line[: len(ZERO)] for line in lines if line[len(ZERO) + 1 :] == name), None)
        return self._ref(said.removeprefix("ref: ")) if said.startswith("ref: ") else said

    async def _commit_of(self, name: str) -> str | None:
        try:
            said = await self._of("rev-parse", "--verify", "--quiet", objects=[name + _PEELED])
        except GitError:
            return None
        return said.decode().strip()

    async def commits(self, *revisions: str, limit: int = 2048) -> list[GitCommit]:
        """Newest first."""
        log = ("log", f"--max-count={limit}", f"--format={FORMAT}")
        out = await self._of(*log, objects=revisions, rest=["--"])
        return [_commit(entry) for entry in out.decode(errors="replace").split("\x01")[1:]]

    async def commit(self, sha: str) -> GitCommit:
        return (await self.commits(sha, limit=1))[0]

    async def count(self, revisions: str) -> int:
        return int(await self.line("rev-list", "--count", revisions, "--"))

    async def is_ancestor(self, old: str, new: str) -> bool:
        try:
            await self.git("merge-base", "--is-ancestor", old, new)
        except GitError:
            return False
        return True

    async def merge_base(self, one: str, other: str) -> str | None:
        return (await self.git("merge-base", one, other, expect=(0, 1))).decode().strip() or None

    async def merge_tree(self, base: str, head: str) -> str | None:
        """The tree of a merge without conflicts, else None."""
        try:
            return (await self.line("merge-tree", "--write-tree", base, head)).splitlines()[0]
        except GitError:
            return None

    async def changes(self, commit: GitCommit) -> list[FileChange]:
        """What a commit does to the files of its first parent."""
        if commit.parents:
            return await self.diff(commit.parents[0], commit.sha)
        empty_tree = await self.line("hash-object", "-t", "tree", "-w", "--stdin")
        return await self.diff(empty_tree, commit.sha)

    async def diff(self, old: str, new: str) -> list[FileChange]:
        diff = ("diff", "--raw", "--numstat", "-z", "--no-renames", "--abbrev=40")
        out = await self._of(*diff, objects=[old, new], rest=["--"])
        return _changes(out.decode(errors="replace").split("\x00"))

    async def entries(self, sha: str, path: str) -> list[Entry]:
        """What is at `path`: a file or link is one entry with that path, a directory its children."""
        found = await self._tree(sha, path) if path else []
        if path and (not found or found[0].kind != "tree"):
            return found
        return await self._tree(sha, f"{path}/" if path else "")

    async def _tree(self, sha: str, path: str) -> list[Entry]:
        out = await self._of("ls-tree", "-l", "-z", objects=[sha], rest=[path] if path else [])
        entries = []
        for record in filter(None, out.decode(errors="replace").split("\x00")):
            facts, _, name = record.partition("\t")
            mode, kind, blob, size = facts.split()
            entries.append(
                Entry(
                    "symlink" if mode == "120000" else kind, blob, name, int(size) if size.isdigit() else None
                )
            )
        return entries

    async def blob(self, sha: str) -> bytes:
        return await self._of("cat-file", "blob", objects=[sha])


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _commit(entry: str) -> GitCommit:
    sha, tree, parents, an, ae, ad, cn, ce, cd, message = entry.split("\x00")
    return GitCommit(
        sha=sha,
        tree=tree,
        parents=tuple(parents.split()),
        author=Signature(an, ae, datetime.fromisoformat(ad)),
        committer=Signature(cn, ce, datetime.fromisoformat(cd)),
        message=message.strip("\n"),
    )


STATUSES: Mapping[str, Literal["added", "removed", "modified"]] = {"A": "added", "D": "removed"}


def _changes(fields: list[str]) -> list[FileChange]:
    """Parse `git diff --raw --numstat -z`: first the raw records of two fields, then the counts."""
    raw: dict[str, tuple[str, str]] = {}
    found: list[FileChange] = []
    rest = iter(fields)
    for said in rest:
        if said.startswith(":"):
            _, _, old, new, status = said.split(" ")
            raw[next(rest)] = (status[0], old if status[0] == "D" else new)
        elif said:
            plus, minus, path = said.split("\t", 2)
            status, blob = raw[path]
            lines = [int(number) if number.isdigit() else 0 for number in (plus, minus)]
            found.append(FileChange(path, blob, STATUSES.get(status, "modified"), *lines))
    return found
