"""What was built before is not built again: an image of the same inputs gets this commit's tags."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import structlog

from config.recipes.table import NAMES
from workers.attempt import Attempt
from workers.build import inputs
from workers.build.bases import Unknown
from workers.contract.failure import Failure, user
from workers.contract.messages import BuildSpec, ImageResult, Known, Lookup
from workers.contract.queue import QueueDown
from workers.registry.push import move
from workers.registry.registry import Registry
from workers.source.checkout import FILES, FOLDER, Checkout, Commit
from workers.source.git import GitFailed
from workers.tools import Tools

log = structlog.get_logger()

_TOP = PurePosixPath(".")
_NONE = ("", "")
_ASKING = 5.0  # seconds: what was built before is not worth a longer wait


class Reuse:
    """One attempt's look for an image that was built before.

    Nobody's to use is what a fork built: it has no key. `key` is empty, too, where not all inputs are known.
    """

    def __init__(self, attempt: Attempt, spec: BuildSpec, tools: Tools, registry: Registry) -> None:
        self.key = ""
        self._attempt = attempt
        self._spec = spec
        self._tools = tools
        self._registry = registry
        self._decided = False
        self._found: Known | None = None

    async def decided(self, commit: Commit) -> bool:
        """Whether the commit's objects alone have shown that nothing is to be built."""
        if self._spec.fork or (texts := await _texts_of(commit, self._spec)) is None:
            return False
        await self._decide(commit, texts)
        return self._found is not None

    @property
    def is_found(self) -> bool:
        """Whether git alone has told, so that no files were laid out."""
        return self._found is not None

    async def found(self, source: Checkout, made: Path | None = None) -> Known | None:
        """The image of the same inputs, if the bot knows one and it is where it should be. Raises Failure.

        `made` is the Dockerfile that the commit itself does not have.
        """
        if not self._decided:
            texts = await asyncio.to_thread(_texts_in, source.folder, self._spec, made)
            if not self._spec.fork:
                await self._decide(source, texts)
        return self._found

    async def _decide(self, commit: inputs.Commit, texts: inputs.Texts) -> None:
        self._decided = True
        builder, engine = self._tools.builder, self._tools.engine
        try:
            self.key = await inputs.key(self._spec, commit, texts, builder, engine, self._registry)
        except Unknown as unknown:
            self._attempt.log.line(f"whether it was built before can't be told: {unknown}")
            return
        if not self._spec.fresh:
            self._found = await self._built_before()

    async def _built_before(self) -> Known | None:
        ref = self._attempt.ref
        asked = Lookup(job=ref.job, attempt=ref.attempt, key=self.key)
        try:
            answer = await self._tools.queue.request(asked, _ASKING)
        except (QueueDown, TimeoutError) as error:
            log.warning("lookup not answered", error=str(error) or "time-out")
            return None
        if not isinstance(answer, Known) or answer.image is None:
            return None
        there = await self._is_there(answer.image)
        if not there:
            gone = f"{answer.image.reference} has the same inputs, but is gone: it is built again"
            self._attempt.log.line(gone)
        return answer if there else None

    async def _is_there(self, image: ImageResult) -> bool:
        spec = self._spec
        if not spec.push:
            return await self._tools.engine.image(image.reference) is not None
        names = (spec.reference, *spec.copies)
        try:
            known = await asyncio.gather(*(self._registry.digest(f"{name}@{image.digest}") for name in names))
        except Failure:
            return False
        return all(digest == image.digest for digest in known)

    async def taken(self, found: Known, source: Checkout) -> ImageResult:
        """Give the image this commit's tags: nothing is built, pulled or pushed. Raises Failure."""
        image, spec, output = found.image, self._spec, self._attempt.log
        assert image is not None, "found() gives none without"  # noqa: S101
        output.line(f"built before, for {found.sha[:12]}, from the same inputs: {image.reference}")
        tags = [*dict.fromkeys((spec.source.sha, *spec.tags))]
        if spec.push:
            for name in (spec.reference, *spec.copies):
                await move(self._registry, name, image.digest, tags, output.write)
        else:
            for tag in tags:
                await self._tools.engine.tag(image.digest, f"{spec.reference}:{tag}")
        reference = f"{spec.reference}@{image.digest}" if spec.push else image.reference
        return image.model_copy(update={"reused": found.sha, "tree": source.tree, "reference": reference})


async def _texts_of(commit: Commit, spec: BuildSpec) -> inputs.Texts | None:
    """What a build reads besides its context, from git; None where only files on a disk can tell."""
    dockerfile, context = PurePosixPath(spec.dockerfile), PurePosixPath(spec.context)
    ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    odd = (path.is_absolute() or ".." in path.parts for path in (dockerfile, context))
    if spec.source.submodules or any(odd):
        return None
    try:
        # Asked apart: of a folder and a file in it, git lists the file alone.
        entries = await commit.entries(dockerfile, ignored)
        entries |= {} if context == _TOP else await commit.entries(context)
        texts = [await _text(commit, entries, path) for path in (dockerfile, ignored)]
    except GitFailed:  # a broken mirror, which laying files out mends
        return None
    is_folder = context == _TOP or entries.get(context, _NONE)[0] == FOLDER
    if texts[0] is None or not is_folder or (ignored in entries and texts[1] is None):
        return None
    return inputs.Texts(texts[0], texts[1] or b"", str(context))


async def _text(
    commit: Commit, entries: Mapping[PurePosixPath, tuple[str, str]], path: PurePosixPath
) -> bytes | None:
    mode, blob = entries.get(path, _NONE)
    return (await commit.text(blob)).encode() if mode in FILES else None


def _texts_in(folder: Path, spec: BuildSpec, made: Path | None = None) -> inputs.Texts:
    """The same from files. Raises Failure where there are none."""
    dockerfile = made or inside(folder, spec.dockerfile, "dockerfile")
    context = inside(folder, spec.context, "context")
    ignored = _resolved(dockerfile.with_name(f"{dockerfile.name}.dockerignore"))
    top = made.parent.resolve() if made else folder.resolve()
    return inputs.Texts(
        dockerfile.read_bytes(),
        ignored.read_bytes() if ignored.is_relative_to(top) and _is_file(ignored) else b"",
        str(context.relative_to(folder.resolve())),
    )


def inside(folder: Path, path: str, what: str) -> Path:
    """`path` below `folder`: neither dots nor the repository's links lead out of it. Raises Failure."""
    place = _resolved(folder / path)
    if not place.is_relative_to(folder.resolve()):
        raise user(f"{what}_missing", f"The {what} {path} lies outside of the repository")
    if what == "dockerfile" and not _is_file(place):
        raise user("dockerfile_missing", f"There is no {path} in this commit: {_instead(folder, path)}")
    if what == "context" and not _is_folder(place):
        raise user("context_missing", f"There is no folder {path} in this commit to build in")
    return place


def lacks(folder: Path, path: str) -> bool:
    """Whether nothing is at a `path` that stays in the folder, no Dockerfile by another name beside it."""
    place = _resolved(folder / path)
    if not place.is_relative_to(folder.resolve()) or _is_there(folder / path):
        return False
    return not _similar(place.parent)


def _similar(beside: Path) -> list[str]:
    """What may be a Dockerfile by another name."""
    if not _is_folder(beside):
        return []
    return sorted(other.name for other in beside.iterdir() if NAMES.fullmatch(other.name))


def _is_there(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_symlink() or path.exists()
    return False


def _resolved(path: Path) -> Path:
    with contextlib.suppress(RuntimeError):  # links that lead to themselves
        return path.resolve()
    return path


def _is_file(path: Path) -> bool:
    with contextlib.suppress(OSError):  # a name that is too long for any file
        return path.is_file()
    return False


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return path.is_dir()
    return False


def _instead(folder: Path, path: str) -> str:
    """What to do about a Dockerfile that is missing: a file beside it may be one by another name."""
    wanted, beside = PurePosixPath(path), _resolved((folder / path).parent)
    if beside.is_relative_to(folder.resolve()):
        for name in _similar(beside):
            return f"write `dockerfile: {wanted.with_name(name)}` for the image in .blacktree.yml"
    return "add it, or name another one (`dockerfile` of the image in .blacktree.yml)"
