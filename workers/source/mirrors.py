"""What was fetched of each repository is kept, so that a push fetches only what it changed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from workers.contract.failure import Failure, ours
from workers.contract.messages import Credentials, Source
from workers.process.threads import to_the_end
from workers.source import checkout, mirror_files
from workers.source.checkout import Checkout, Commit
from workers.source.git import Git, access
from workers.source.mirror import Broken, Job, Mirror

# Right after an event GitHub may not show what it told of (FIELD.md, 17).
_LAG = (1.0, 3.0)  # seconds before another try
_LAGGING = ("commit_missing", "repository_missing")
_PACKS = 40  # fetches after which a mirror is packed


class Mirrors:
    """The mirrors of one worker process, which is alone in `folder`."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._known: dict[str, Mirror] = {}

    async def checkout(
        self,
        source: Source,
        credentials: Credentials,
        folder: Path,
        output: Callable[[str], None],
        needless: Callable[[Commit], Awaitable[bool]] | None = None,
        lag: Sequence[float] = _LAG,
    ) -> Checkout:
        """Lay the files of `source` out in `folder`, which exists and is the attempt's. Raises Failure.

        Where `needless`, asked once the commit is there, says so, none is laid out.
        """
        checkout.check(source, self._environ.get("PATH"))
        await to_the_end(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        top = Commit(Git(self._environ, folder / "git" / "0", folder / "tree"), folder / "tree", source.sha)
        commits = {PurePosixPath("."): top}
        with access(source.clone_url, credentials, folder) as known:
            job = Job(source, top, known, output, is_submodule=False)
            await self._patiently(job, lag)
            if needless is None or not await needless(top):
                await self._whole(job, lent=True)
                if source.submodules:
                    await self._lay_out_submodules(job, commits, lag)
        return await checkout.described(folder / "tree", commits)

    async def _lay_out_submodules(
        self, top: Job, commits: dict[PurePosixPath, Commit], lag: Sequence[float]
    ) -> None:
        waiting = deque([(PurePosixPath("."), top.source)])
        while waiting:
            path, outer = waiting.popleft()
            for place, inner in (await checkout.submodules_of(commits[path], outer)).items():
                tree = top.commit.tree / path / place
                folder = top.commit.git.folder.with_name(str(len(commits)))
                commit = Commit(Git(self._environ, folder, tree), tree, inner.sha)
                job = Job(inner, commit, top.access, top.output, is_submodule=True)
                await self._patiently(job, lag)
                await self._whole(job, lent=True)
                commits[path / place] = commit
                waiting.append((path / place, inner))

    async def _patiently(self, job: Job, lag: Sequence[float]) -> None:
        """The job has its commit."""
        for wait in lag:
            try:
                await self._whole(job, files=False)
                return
            except Failure as failure:
                if failure.reason not in _LAGGING:
                    raise
            await asyncio.sleep(wait)
        await self._whole(job, files=False)

    async def _whole(self, job: Job, *, lent: bool = False, files: bool = True) -> None:
        """What Mirror.serve does, by a mirror that is made anew if it is broken."""
        mirror = self._mirror(mirror_files.name(job.source.clone_url))
        try:
            return await mirror.serve(job, lent=lent, files=files)
        except Broken as broken:
            job.output(f"The mirror of {job.source.repository} is broken and made anew: {broken}\n")
            await mirror.remove(broken.edition)
        try:
            await mirror.serve(job, files=files)
        except Broken as broken:
            raise ours("git_failed", f"git cannot check {job.source.repository} out: {broken}") from None

    def _mirror(self, name: str) -> Mirror:
        mirror = self._known.get(name)
        if mirror is None:
            mirror = self._known[name] = Mirror(self._folder / name, self._environ)
        return mirror

    async def prune(self, budget: int) -> list[str]:
        """Remove the mirrors that were not used for longest, until all have less than `budget` bytes.

        None that is in use. Those that stay are packed now and then. What was removed is named for the log.
        """
        for mirror in [self._mirror(name) for name in await to_the_end(mirror_files.names, self._folder)]:
            if mirror.is_idle and await to_the_end(mirror_files.packs, mirror.folder) > _PACKS:
                await mirror.pack()
        sizes = await to_the_end(mirror_files.sizes, self._folder)
        total = sum(sizes.values())
        removed: list[str] = []
        for name, size in sizes.items():
            mirror = self._mirror(name)
            url = await to_the_end(mirror_files.url, mirror.folder)
            if total > budget and mirror.is_idle:
                await mirror.remove()
                removed.append(url)
                total -= size
        return removed
