"""Pure: the ways in which a Dockerfile may be read here: as the builder does, or the frontend that it names.

Who knows no heredocs takes their lines for instructions, and so starts from other images.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

from config.registries import split
from workers.build import bases

# The frontends that keep layers and cache mounts apart: what these do is BuildKit's to say.
OFFICIAL = "docker.io/docker/dockerfile"
# The first one that has heredocs, and that heeds all by which builds of different trust are kept apart.
# https://docs.docker.com/build/buildkit/dockerfile-release-notes/
SINCE = (1, 4)
# A version; `1` and `latest` are the newest one. Behind a digest there may be any.
_TAG = re.compile(r"1(\.(?P<minor>\d+)(\.\d+)?)?(-labs)?|latest|labs")


class Reader(Protocol):
    """How a builder reads Dockerfiles."""

    heredocs: bool  # whether it knows them in a Dockerfile that names no frontend
    frontends: bool  # whether it leaves the reading to the frontend that one names


def read(dockerfile: bytes, args: Mapping[str, str], reader: Reader) -> list[bases.Bases]:
    """What a build takes from elsewhere, read in each way that its builder might. Raises bases.Unknown."""
    frontend = bases.frontend(dockerfile, args)
    ways = [reader.heredocs]
    if frontend and reader.frontends:
        ways = [True] if is_usual(frontend) and "@" not in frontend else [True, False]
    return [bases.read(dockerfile, args, with_heredocs=one) for one in ways]


def is_official(frontend: str) -> bool:
    """Whether an image, NAME[:TAG][@DIGEST], is Docker's own frontend, of whatever age."""
    host, path = split(_parts(frontend)[0])
    return f"{host}/{path}" == OFFICIAL


def is_usual(frontend: str) -> bool:
    """Whether its name says that it is Docker's own, and not older than SINCE."""
    version = _TAG.fullmatch(_parts(frontend)[1])
    minor = version and version["minor"]
    return is_official(frontend) and bool(version) and (not minor or (1, int(minor)) >= SINCE)


def _parts(frontend: str) -> tuple[str, str]:
    """(name, tag)"""
    name, colon, tag = frontend.partition("@")[0].rpartition(":")
    if not colon or "/" in tag:
        return frontend.partition("@")[0], "latest"
    return name, tag
