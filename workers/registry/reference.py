"""References of images, read as a docker CLI reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from config.registries import DOCKER_HUB, split

# https://pkg.go.dev/github.com/distribution/reference
_PATH = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
# Docker takes registries on this machine without TLS: https://docs.docker.com/reference/cli/dockerd/
_PLAIN = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True)
class Reference:
    """An image in a registry."""

    host: str  # as images are named: docker.io, ghcr.io, localhost:5000
    path: str  # in that registry: library/busybox
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        return f"{self.host}/{self.path}"

    @property
    def chosen(self) -> str:
        """What is asked for: the digest wins over the tag."""
        return self.digest or self.tag or "latest"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.name + tag + (f"@{self.digest}" if self.digest else "")


def parse(reference: str) -> Reference:
    """Read NAME[:TAG][@DIGEST]. Raises ValueError."""
    rest, at, digest = reference.partition("@")
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    host, path = split(name) if "/" in name else (DOCKER_HUB, name)
    if host == DOCKER_HUB and "/" not in path:
        path = f"library/{path}"
    if not (_HOST.fullmatch(host) and _PATH.fullmatch(path) and len(name) <= 255):
        raise ValueError(f"{reference!r} is no name of an image")
    if (tag or name != rest) and not _TAG.fullmatch(tag):
        raise ValueError(f"{reference!r} has no proper tag")
    if at and not _DIGEST.fullmatch(digest):
        raise ValueError(f"{reference!r} has no proper digest")
    return Reference(host, path, tag or None, digest or None)


def api_host(host: str) -> str:
    """Where the registry of that host answers: Docker Hub's has another name than its images."""
    return _HUB_API if host == DOCKER_HUB else host


def is_plain(host: str) -> bool:
    """Whether it is spoken to without TLS."""
    return bool(_PLAIN.fullmatch(host))
