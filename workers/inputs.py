"""What an image is made from, as one key: the same inputs, the same key."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from dockerfile_parse import DockerfileParser

from workers.contract.messages import BuildSpec
from workers.engine.engine import Engine
from workers.failure import Failure
from workers.registry.registry import Registry

_VERSION = 1  # of what a key is made from: another one finds nothing of before
_SYNTAX = re.compile(rb"^#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_STAGE = re.compile(r"\sas\s+(\S+)\s*$", re.IGNORECASE)
_FROM = re.compile(r"--from=(\S+)|--mount=\S*?\bfrom=([^,\s]+)", re.IGNORECASE)
_REMOTE = re.compile(r"(^|[\s\"\[,])([a-z]+://|git@)", re.IGNORECASE)
# https://pkg.go.dev/github.com/distribution/reference
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._/:-]*(@sha256:[0-9a-f]{64})?", re.IGNORECASE)


class Unknown(Exception):
    """Not all inputs are known, so that no other build has the same for sure; the text says which."""


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


async def key(spec: BuildSpec, commit: Commit, texts: Texts, engine: Engine, registry: Registry) -> str:
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
        "bases": {name: await _digest(name, spec, engine, registry) for name in bases(dockerfile, spec.args)},
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _above(folder: str) -> list[str]:
    """The folders above one, whose attributes say how git writes the files in it."""
    return [str(parent) for parent in PurePosixPath(folder).parents]


def bases(dockerfile: bytes, args: Mapping[str, str]) -> list[str]:
    """References of all images that a build starts or copies from. Raises Unknown where it can't be told."""
    parser = DockerfileParser(fileobj=io.StringIO(dockerfile.decode(errors="replace")), build_args=dict(args))
    found, stages = list(_syntax(dockerfile)), set[str]()
    froms = iter(parser.parent_images)
    for line in parser.structure:
        if line["instruction"] == "FROM":
            found += [name for name in [next(froms)] if name.lower() not in stages]
            stages |= {match[1].lower() for match in [_STAGE.search(line["value"])] if match}
        else:
            found += [name for name in _others(line) if name.lower() not in stages and not name.isdigit()]
    for name in found:
        if not _REFERENCE.fullmatch(name):
            raise Unknown(f"the image {name} of the Dockerfile")
    return sorted({name for name in found if name != "scratch"})


def _syntax(dockerfile: bytes) -> Iterator[str]:
    for line in dockerfile.splitlines():
        if match := _SYNTAX.match(line.strip()):
            yield match[1].decode(errors="replace")
        elif not line.startswith(b"#"):
            return


def _others(line: Mapping[str, Any]) -> Iterator[str]:
    """The images that an instruction other than FROM takes something from."""
    if line["instruction"] == "ADD" and _REMOTE.search(line["value"]):
        raise Unknown(f"what ADD fetches: {line['value'][:100]}")
    if line["instruction"] in ("COPY", "ADD", "RUN"):
        yield from (match[1] or match[2] for match in _FROM.finditer(line["value"]))


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
