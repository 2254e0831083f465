"""What was fetched of each repository is kept, so that a push fetches only what it changed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from workers import checkout
from workers import mirror_files as files
from workers.checkout import Checkout, Commit
from workers.contract.messages import Credentials, Source
from workers.failure import Failure, ours
from workers.git import Git, access
from workers.mirror import Broken, Job, Mirror
from workers.threads import to_the_end

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
        lag: Sequence[float] = _LAG,
    ) -> Checkout:
        """Lay the files of `source` out in `folder`, which exists and is the attempt's. Raises Failure."""
        checkout.check(source, self._environ.get("PATH"))
        await to_the_end(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        commits: dict[PurePosixPath, Commit] = {}
        with access(source.clone_url, credentials, folder) as known:
            waiting = deque([(PurePosixPath("."), source)])
            while waiting:
                path, wanted = waiting.popleft()
                tree = folder / "tree" / path
                git = Git(self._environ, folder / "git" / str(len(commits)), tree)
                commit = Commit(git, tree, wanted.sha)
                job = Job(wanted, commit, known, output, is_submodule=bool(commits))
                await self._patiently(job, lag)
                commits[path] = commit
                if source.submodules:
                    below = await checkout.submodules_of(commit, wanted)
                    waiting.extend((path / place, inner) for place, inner in below.items())
        return await checkout.described(folder / "tree", commits)

    async def _patiently(self, job: Job, lag: Sequence[float]) -> None:
        for wait in lag:
            try:
                await self._whole(job)
                return
            except Failure as failure:
                if failure.reason not in _LAGGING:
                    raise
            await asyncio.sleep(wait)
        await self._whole(job)

    async def _whole(self, job: Job) -> None:
        """The job's files, out of a mirror that is made anew if it is broken."""
        mirror = self._mirror(files.name(job.source.clone_url))
        try:
            return await mirror.serve(job)
        except Broken as broken:
            job.output(f"The mirror of {job.source.repository} is broken and made anew: {broken}\n")
            await mirror.remove(broken.edition)
        try:
            await mirror.serve(job)
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
        for mirror in [self._mirror(name) for name in await to_the_end(files.names, self._folder)]:
            if mirror.is_idle and await to_the_end(files.packs, mirror.folder) > _PACKS:
                await mirror.pack()
        sizes = await to_the_end(files.sizes, self._folder)
        total = sum(sizes.values())
        removed: list[str] = []
        for name, size in sizes.items():
            mirror = self._mirror(name)
            url = await to_the_end(files.url, mirror.folder)
            if total > budget and mirror.is_idle:
                await mirror.remove()
                removed.append(url)
                total -= size
        return removed
