"""One mirror: a bare repository with a ref for each commit that was asked for.

Whoever fetches holds its lock; then the attempt gets its objects as hard links, and needs the mirror no more:
a mirror may be packed, removed or made anew while jobs check out of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import structlog

from workers.contract.failure import ours
from workers.contract.messages import Source
from workers.process.threads import to_the_end
from workers.source import mirror_files as files
from workers.source.checkout import Commit, lay_out, lfs_objects, why
from workers.source.git import Access, Git, GitFailed

log = structlog.get_logger()

_KEPT = 20  # commits that are kept when a mirror is packed
_PACKING = 1800.0  # seconds that it may take


@dataclass(frozen=True)
class Job:
    """A commit that somebody wants."""

    source: Source
    commit: Commit  # where it is to be laid out
    access: Access
    output: Callable[[str], None]
    is_submodule: bool


class Broken(Exception):
    """git failed in a way that a broken mirror explains."""

    def __init__(self, failed: GitFailed, edition: int) -> None:
        super().__init__(str(failed))
        self.edition = edition


class Mirror:
    """One bare repository."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._git = Git(environ, folder)
        self._lock = asyncio.Lock()
        self._edition = 0  # how often it was begun anew
        self._is_suspect = False
        self._sound: files.Sound = {}

    @property
    def is_idle(self) -> bool:
        return not self._lock.locked()

    async def serve(self, job: Job, *, lent: bool = False, files: bool = True) -> None:
        """Lend the job's commit, unless it is `lent`, and lay its files out. Raises Failure, and Broken."""
        edition = self._edition
        try:
            if job.source.lfs or not lent:
                async with self._held():
                    edition = self._edition
                    await self._prepare(job)
                    await self._fetch(job)
                    await self._lend(job)
                    if files and job.source.lfs:  # so that what is in LFS is fetched once, and kept
                        await self._lay_out_lfs(job)
            if files and not job.source.lfs:
                await self._lay_out(job)
        except GitFailed as failed:
            if "No space left" in failed.said:
                raise ours("disk_full", "The worker's disk is full") from None
            raise Broken(failed, edition) from None
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise ours("disk_full", "The worker's disk is full") from None

    @contextlib.asynccontextmanager
    async def _held(self) -> AsyncIterator[None]:
        """Nobody else is in the mirror: a lock in it, or half a file, is of a git that was killed."""
        async with self._lock:
            await to_the_end(files.sweep, self.folder)
            try:
                yield
            finally:
                await to_the_end(files.sweep, self.folder)
                if self._is_suspect:
                    await self._begin_anew()

    def _doubt(self, said: str) -> None:
        """What works while git complains will not work for long: this job is the mirror's last."""
        self._is_suspect |= any(line.startswith("error:") for line in said.splitlines())

    async def _begin_anew(self) -> None:
        self._edition += 1
        self._is_suspect = False
        await to_the_end(files.discard, self.folder)

    async def _prepare(self, job: Job) -> None:
        await self._git.run("init", "--quiet", "--bare", "--template=", _format(job), output=job.output)

    async def _fetch(self, job: Job) -> None:
        """The commit is in the mirror. A submodule is asked for in any case: may these credentials see it?"""
        source = job.source
        ref = f"{files.COMMITS}/{source.sha}"
        if job.is_submodule or source.depth > 1 or not await self._has(ref):
            try:
                said = await self._git.run(
                    "fetch", "--quiet", f"--depth={source.depth}", "--no-tags", "--no-recurse-submodules",
                    "--no-write-fetch-head", "--force", "--", source.clone_url, f"{source.sha}:{ref}",
                    output=job.output, login=job.access.to(source.clone_url),
                    settings=["fetch.unpackLimit=1"],
                )  # fmt: skip
            except GitFailed as failed:
                await self._blame(failed, source)
            self._doubt(said)
        await to_the_end(files.stamp, self.folder, ref, source.clone_url)

    async def _has(self, ref: str) -> bool:
        try:
            self._doubt(await self._git.ask("rev-parse", "--verify", "--quiet", ref + "^{commit}"))
        except GitFailed:
            return False
        return True

    async def _blame(self, failed: GitFailed, source: Source) -> NoReturn:
        """Raise what the other side meant; or what git said, if this side is broken."""
        failure = why(failed.said, source)
        if failure.reason != "git_unreachable" or "unable to access 'http" in failed.said:
            raise failure from None
        try:
            await self._git.ask("fsck", "--no-dangling", "--no-reflogs", "--no-progress")
        except GitFailed:
            raise failed from None
        raise failure from None

    async def _lend(self, job: Job) -> None:
        git = job.commit.git
        await to_the_end(files.empty, git.folder)
        await to_the_end(files.empty, job.commit.tree)
        await git.run("init", "--quiet", "--template=", _format(job), output=job.output)
        await to_the_end(files.link, self.folder, git.folder)

    async def _lay_out(self, job: Job) -> None:
        await lay_out(job.commit, job.source, job.access, self._lfs, job.output)

    async def _lay_out_lfs(self, job: Job) -> None:
        """git-lfs checks what it fetches, but never again."""
        used = await lfs_objects(job.commit.git, job.commit.sha)
        await to_the_end(files.remove_corrupt, self._lfs, used, self._sound)
        await self._lay_out(job)

    @property
    def _lfs(self) -> Path:
        return self.folder / "lfs"

    async def remove(self, edition: int | None = None) -> None:
        """Begin anew; unless somebody has done so since `edition`."""
        async with self._lock:
            if edition in (None, self._edition):
                await self._begin_anew()

    async def pack(self) -> None:
        """Forget what was not used lately, and put the rest into one pack."""
        async with self._held():
            try:
                kept = await to_the_end(files.forget_commits, self.folder, _KEPT)
                async with asyncio.timeout(_PACKING):
                    await self._git.run(
                        "gc", "--quiet", "--prune=now", output=_silent,
                        settings=["gc.packRefs=false", "pack.threads=1", "pack.windowMemory=256m"],
                    )  # fmt: skip
                    await self._forget_lfs(kept)
                return
            except TimeoutError:
                log.warning("packing a mirror lasted too long", mirror=str(self.folder))
                return
            except (GitFailed, OSError) as failed:
                log.warning("a mirror is broken and removed", mirror=str(self.folder), error=str(failed))
        await self.remove()

    async def _forget_lfs(self, kept: Sequence[str]) -> None:
        if await to_the_end(self._lfs.is_dir):
            used = [await lfs_objects(self._git, sha) for sha in kept]
            await to_the_end(files.forget_lfs, self._lfs, set[str]().union(*used), self._sound)


def _format(job: Job) -> str:
    return "--object-format=" + ("sha256" if len(job.source.sha) == 64 else "sha1")


def _silent(_: str) -> None:
    pass
