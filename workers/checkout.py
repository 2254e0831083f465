"""The exact commit, one deep, in a fresh folder. The token is in memory only."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workers import process
from workers.contract.messages import Credentials, Source
from workers.failure import Failure, final, ours, user

# Right after an event GitHub may not show what it told of (FIELD.md, 17).
_LAG = (1.0, 3.0)  # seconds before another try
_PASSED = re.compile(
    r"^(PATH|LANG|SSL_CERT_(FILE|DIR)|GIT_SSL_CA(INFO|PATH)|CURL_CA_BUNDLE|"
    r"(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY)$"
)
_DENIED = (
    "authentication failed", "could not read username", "could not read password", "error: 401", "error: 403",
)  # fmt: skip
_SHA = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_SAFE = (
    "protocol.allow=never", "protocol.http.allow=always", "protocol.https.allow=always",
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "credential.helper=", "gc.auto=0",
    "http.lowSpeedLimit=1000", "http.lowSpeedTime=60",
)  # fmt: skip
# Answers only for the place that the token is for: a redirect elsewhere gets nothing.
_ASKPASS = """#!/bin/sh
case "$1" in
*"'$BLACKTREE_GIT_SCHEME://$BLACKTREE_GIT_HOST'"* | *"'$BLACKTREE_GIT_SCHEME://"*"@$BLACKTREE_GIT_HOST'"*) ;;
*) exit 1 ;;
esac
case "$1" in
Username*) exec sed -n 1p "/proc/self/fd/$BLACKTREE_GIT_FD" ;;
*) exec sed -n 2p "/proc/self/fd/$BLACKTREE_GIT_FD" ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    """A commit's files, without a .git folder among them."""

    folder: Path
    tree: str


async def checkout(
    source: Source,
    credentials: Credentials,
    folder: Path,
    environ: Mapping[str, str],
    output: Callable[[str], None],
    lag: Sequence[float] = _LAG,
) -> Checkout:
    """Fetch `source` into `folder`, which exists. Raises Failure."""
    if not _SHA.match(source.sha):
        raise final("bad_commit", f"{source.sha!r} is no full commit SHA")
    if urlsplit(source.clone_url).scheme not in ("http", "https"):
        raise final("bad_clone_url", f"{source.clone_url} is neither http nor https")
    tree = folder / "tree"
    tree.mkdir()
    with _asking(source.clone_url, credentials, folder) as (env, fds):
        git = _Git(folder, tree, {**_environment(environ), **env}, fds, output)
        await git.run("init", "--quiet", "--template=")
        await _fetched(git, source, lag)
        await git.run("checkout", "--quiet", "--force", "--detach", source.sha)
        head = await git.run("rev-parse", "--verify", "HEAD")
        if head != source.sha:
            raise final("bad_commit", f"The checkout is at {head} instead of {source.sha}")
        return Checkout(tree, await git.run("rev-parse", "--verify", "HEAD^{tree}"))


async def _fetched(git: _Git, source: Source, lag: Sequence[float]) -> None:
    for wait in (*lag, None):
        try:
            # --force: a repository's own settings have no say here.
            await git.run("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--force",
                          "--", source.clone_url, source.sha)  # fmt: skip
            return
        except _GitFailed as failed:
            failure = why(failed.said, source)
            if wait is None or failure.reason not in ("commit_missing", "repository_missing"):
                raise failure from None
        await asyncio.sleep(wait)


class _GitFailed(Exception):
    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class _Git:
    def __init__(
        self,
        folder: Path,
        tree: Path,
        env: Mapping[str, str],
        fds: Sequence[int],
        output: Callable[[str], None],
    ) -> None:
        self._start = ["git", f"--git-dir={folder / 'git'}", f"--work-tree={tree}"]
        self._start += [part for setting in _SAFE for part in ("-c", setting)]
        self._env = env
        self._fds = fds
        self._folder = folder
        self._output = output

    async def run(self, verb: str, *arguments: str) -> str:
        quiet = verb == "rev-parse"
        ended = await process.run(
            [*self._start, verb, *arguments],
            env=self._env,
            cwd=self._folder,
            output=(lambda _: None) if quiet else self._output,
            pass_fds=self._fds,
        )
        if ended.code == 0:
            return ended.tail.strip()
        if verb == "fetch":
            raise _GitFailed(ended.tail)
        if "No space left" in ended.tail:
            raise ours("disk_full", "The worker's disk is full")
        raise ours("git_failed", f"git {verb} failed: {_last(ended.tail)}")


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if _PASSED.match(name)} | {
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }


@contextlib.contextmanager
def _asking(
    url: str, credentials: Credentials, folder: Path
) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
    """The variables and descriptors by which git learns `credentials`; the variables hold none."""
    if not credentials.git_password:
        yield {"GIT_ASKPASS": "/bin/false"}, ()
        return
    script = folder / "askpass"
    script.write_text(_ASKPASS)
    script.chmod(0o700)
    memory = os.memfd_create("blacktree-git", os.MFD_CLOEXEC)
    try:
        os.write(memory, f"{credentials.git_username}\n{credentials.git_password}\n".encode())
        where = urlsplit(url)
        host = where.netloc.rpartition("@")[2]
        yield (
            {
                "GIT_ASKPASS": str(script),
                "BLACKTREE_GIT_FD": str(memory),
                "BLACKTREE_GIT_SCHEME": where.scheme,
                "BLACKTREE_GIT_HOST": host,
            },
            (memory,),
        )
    finally:
        os.close(memory)


def why(said: str, source: Source) -> Failure:
    """What `git fetch` meant."""
    text = said.lower()
    short = source.sha[:12]
    if any(words in text for words in ("not our ref", "couldn't find remote ref", "no such remote ref")):
        return user(
            "commit_missing", f"{source.repository} has no commit {short} any more: was it force-pushed away?"
        )
    if any(words in text for words in _DENIED):
        return final(
            "git_denied",
            f"GitHub refused the login for {source.repository}: check the token, or the App's installation",
        )
    if "not found" in text or "error: 404" in text:
        return user(
            "repository_missing",
            f"{source.repository} is not there: was it deleted, or does the App's installation leave it out?",
        )
    if "no space left" in text:
        return ours("disk_full", "The worker's disk is full")
    return ours("git_unreachable", f"{source.repository} could not be fetched: {_last(said)}")


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "git gave no reason"
