"""What an image is made from, as one key: the same inputs, the same key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from workers.build import readings
from workers.build.bases import Unknown, unfetched
from workers.contract.failure import Failure
from workers.contract.messages import BuildSpec
from workers.engine.builder import Builder
from workers.engine.engine import Engine
from workers.registry.registry import Registry

_VERSION = 3  # of what a key is made from: another one finds nothing of before


class Commit(Protocol):
    """What git knows of a commit."""

    async def object(self, path: str) -> str | None:
        """The object of a path, None if there is none."""


@dataclass(frozen=True)
class Texts:
    """What a build reads besides its context."""

    dockerfile: bytes
    ignored: bytes  # of NAME.dockerignore beside it
    context: str  # relative to the commit, with links resolved


async def key(
    spec: BuildSpec, commit: Commit, texts: Texts, builder: Builder, engine: Engine, registry: Registry
) -> str:
    """The key of a build's inputs. Raises Unknown, and EngineDown.

    They are the git tree of its context, the Dockerfile, target, arguments, platforms, what the test runs,
    and the digests of all images that it starts from. The values of secrets are left out, as BuildKit does.
    """
    source, dockerfile = spec.source, texts.dockerfile
    attributes = [f"{folder}/.gitattributes" for folder in _above(texts.context)]
    inputs = {
        "version": _VERSION,
        "image": spec.image,
        "context": await commit.object(texts.context),
        "attributes": [await commit.object(path) for path in attributes],
        "dockerfile": hashlib.sha256(dockerfile).hexdigest(),
        "ignored": hashlib.sha256(texts.ignored).hexdigest(),
        "checkout": [source.submodules, source.lfs, source.sparse],
        "target": spec.target,
        "args": sorted(spec.args.items()),
        "platforms": sorted(spec.platforms),
        "secrets": sorted(spec.secrets),
        "test": spec.test and [spec.test.command, spec.test.network],
        "bases": {
            name: await _digest(name, spec, engine, registry)
            for name in _bases(dockerfile, spec.args, builder)
        },
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _bases(dockerfile: bytes, args: Mapping[str, str], builder: Builder) -> list[str]:
    """What the build starts from, whoever reads its Dockerfile. Raises Unknown."""
    first, *others = readings.read(dockerfile, args, builder)
    if any(other != first for other in others):
        raise Unknown(f"whether {first.frontend} knows heredocs")
    return unfetched(first)


def _above(folder: str) -> list[str]:
    """The folders above one, whose attributes say how git writes the files in it."""
    return [str(parent) for parent in PurePosixPath(folder).parents]


async def _digest(name: str, spec: BuildSpec, engine: Engine, registry: Registry) -> str:
    """What `name` stands for now: the engine's image goes first, as it does with the builder."""
    if not spec.pull and (image := await engine.image(name)):
        return next((known.rpartition("@")[2] for known in image.digests), image.id)
    try:
        digest = await registry.digest(name)
    except Failure as failure:
        raise Unknown(f"the digest of {name}: {failure.sentence}") from None
    if digest is None:
        raise Unknown(f"the digest of {name}: its registry does not know it")
    return digest
