"""What a build starts from: nobody's private image, whoever asked the engine for it before.

An engine gives whatever it has by a name to whoever names it, and a registry gives what a login may read. So
names of this instance's own images are for the repository that they are of, and a stranger's build starts
only from what anybody may read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
from collections.abc import Collection, Iterable
from typing import Protocol
from urllib.parse import urlsplit

from config.predefined import is_predefined
from config.registries import identity, is_nearby
from workers.build import bases, readings
from workers.contract.failure import Failure, user
from workers.contract.messages import BuildSpec
from workers.engine.builder import Builder
from workers.engine.engine import Engine
from workers.engine.too_old import no_heredocs
from workers.registry.reference import Reference, api_host, parse
from workers.registry.registry import Registry

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_RESOLVING = 3.0  # seconds
_ID = re.compile(r"(sha256:)?([0-9a-f]+)")


async def checked(
    spec: BuildSpec, dockerfile: bytes, builder: Builder, engine: Engine, registry: Registry
) -> bool:
    """Whether base images are to be asked for at their registries. Raises Failure where one is not to be had.

    `registry` has the build's own logins.
    """
    if predefined := [name for name in spec.args if is_predefined(name)]:
        raise user("bad_argument", f"The build argument {predefined[0]} is the instance's to set: remove it")
    try:
        if spec.fork:
            await _usual(bases.frontend(dockerfile, spec.args), registry)
        read = _read(spec, dockerfile, builder)
    except bases.Unknown as unknown:
        raise _unreadable(spec, dockerfile, builder, unknown) from None
    names = sorted({name for one in read for name in one.images})
    for name in names:
        await _not_by_id(name, engine)
    images = [image for image in map(_parsed, names) if not fits(spec.shared, image)]
    for image in images:
        if is_anothers(spec, image):
            raise _not_yours(spec, image)
    if not spec.fork:
        return spec.pull
    for image in images:
        await _elsewhere(image)
        await _public(image, registry)
    return bool(images)


def _read(spec: BuildSpec, dockerfile: bytes, builder: Builder) -> list[bases.Bases]:
    """The Dockerfile as it is read for each platform, in each way. Raises Unknown."""
    try:
        return [
            one
            for platform in _platforms(spec)
            for one in readings.read(dockerfile, {**platform, **spec.args}, builder)
        ]
    except bases.Refused:
        if spec.fork:
            raise
        return []  # the builder refuses it too, in its own words


def _unreadable(spec: BuildSpec, dockerfile: bytes, builder: Builder, unknown: bases.Unknown) -> Failure:
    """What is no Dockerfile to this builder is one with heredocs perhaps, which it is too old for."""
    with contextlib.suppress(bases.Unknown):
        if not builder.heredocs and not bases.read(dockerfile, spec.args).frontend:
            return no_heredocs(str(unknown), builder.description)
    return user("base_image_unknown", f"It can't be told what the build starts from: {unknown}")


def _platforms(spec: BuildSpec) -> list[dict[str, str]]:
    """What a builder knows by itself, for each platform that is built for.

    https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope
    """
    here = f"linux/{_ARCHITECTURES.get(os.uname().machine, os.uname().machine)}"
    return [_arguments("TARGET", there) | _arguments("BUILD", here) for there in spec.platforms or [here]]


def _arguments(prefix: str, platform: str) -> dict[str, str]:
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    parts = {"PLATFORM": platform, "OS": system, "ARCH": architecture, "VARIANT": variant}
    return {f"{prefix}{part}": value for part, value in parts.items()}


async def _not_by_id(name: str, engine: Engine) -> None:
    """The classic builder takes an id, or the start of one, for a name."""
    given = _ID.fullmatch(name)
    image = await engine.image(name) if given else None
    if given and image and image.id.removeprefix("sha256:").startswith(given[2]):
        raise user("base_image_refused", f"FROM {name} is an image's id: start from an image by its name")


def _parsed(name: str) -> Reference:
    try:
        return parse(name)
    except ValueError as error:
        raise user("base_image_unknown", f"It can't be told what the build starts from: {error}") from None


def reserved(prefixes: Collection[str], image: Reference) -> bool:
    """Pure: whether an image is below one of these HOST/PREFIX: one of the instance's own."""
    prefixes = {*prefixes, *map(identity, prefixes)}
    return any(
        name == prefix or name.startswith(f"{prefix}/") for prefix in prefixes for name in _names(image)
    )


class Names(Protocol):
    """Whose images are whose: `reserved` are the instance's own, of which these patterns are the asker's."""

    @property
    def reserved(self) -> list[str]: ...
    @property
    def permitted(self) -> list[str]: ...
    @property
    def shared(self) -> list[str]: ...


def is_anothers(names: Names, image: Reference) -> bool:
    """Pure: whether it is of what is built here for another repository."""
    return reserved(names.reserved, image) and not fits([*names.permitted, *names.shared], image)


def fits(patterns: Iterable[str], image: Reference) -> bool:
    """Pure: whether one of these patterns is an image's name."""
    return any(re.fullmatch(pattern, name) for pattern in patterns for name in _names(image))


def _names(image: Reference) -> tuple[str, str]:
    """As it is written, and the one of all that are the same."""
    return image.name, identity(image.name)


def _not_yours(spec: BuildSpec, image: Reference) -> Failure:
    who = "a fork" if spec.fork else spec.source.repository
    return user(
        "base_image_refused",
        f"{image} is not for {who} to start from: such names are those of what Blacktree builds here, each"
        " for its own repository. Start from another image, or ask the instance's administrator to name this"
        " one in SHARED_IMAGES",
    )


async def _usual(frontend: str, registry: Registry) -> None:
    """Another frontend does what it likes, and older ones share what they keep. Raises Failure."""
    since = ".".join(map(str, readings.SINCE))
    if not frontend:
        return
    if not readings.is_official(frontend):
        raise user("frontend_refused", f"A fork's Dockerfile may not have the syntax {frontend}")
    if not readings.is_usual(frontend):
        raise user(
            "frontend_refused",
            f"A fork's Dockerfile may not have the syntax {frontend}, which may be older than {since}:"
            " write `# syntax=docker/dockerfile:1`",
        )
    name, at, pinned = frontend.partition("@")
    if at and await registry.digest(str(_parsed(name))) != pinned:
        raise user(
            "frontend_refused",
            f"A fork's Dockerfile may not have the syntax {frontend}: {name} is another image now,"
            f" and that one may be older than {since}. Write `# syntax={name}`",
        )


async def _elsewhere(image: Reference) -> None:
    """No wall holds what engines fetch: a stranger names nothing of the worker's network. Raises Failure."""
    if is_nearby(image.host) or any(map(is_nearby, await _addresses(api_host(image.host)))):
        raise user(
            "base_image_refused",
            f"{image} is not for a fork to start from: {image.host} is on a private network. Start from"
            " another image, or ask the instance's administrator to name this one in SHARED_IMAGES",
        )


async def _addresses(host: str) -> list[str]:
    """What a host's name stands for here; nothing where that is not told, as behind a proxy."""
    name = urlsplit(f"//{host}").hostname
    try:
        async with asyncio.timeout(_RESOLVING):
            found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # which a time-out is, too
        return []
    return [f"[{where[0]}]" if family is socket.AF_INET6 else str(where[0]) for family, *_, where in found]


async def _public(image: Reference, registry: Registry) -> None:
    """What only a login may read is not had from an engine that has it already. Raises Failure."""
    try:
        known = await registry.digest(str(image))
    except Failure as failure:
        if failure.reason != "registry_denied":
            raise
        known = None
    if known is None:
        raise user(
            "base_image_missing",
            f"Base image {image} cannot be read without a login, which a fork's build does not get",
        )
