"""Registries as settings name them: the host in a name, and logins in the form of Docker's config.json."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

DOCKER_HUB = "docker.io"
# Names that mean Docker Hub: https://pkg.go.dev/github.com/distribution/reference, and its API's own.
_HUB_NAMES = {DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"}
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-requests.html: one registry of four names
_ECR = re.compile(
    r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)"
    r"\.(?:amazonaws\.com(?:\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)
_ECR_PUBLIC = {"ecr-public.aws.com": "public.ecr.aws"}
_LOCAL = "localhost"
_USUAL_PORTS = ("443", "80")
# The user name by which a password is an identity token:
# https://github.com/docker/docker-credential-helpers#docker-credential-helpers
IDENTITY_TOKEN = "<token>"  # noqa: S105


@dataclass(frozen=True)
class Login:
    """A login at the registries of one host."""

    host: str
    username: str
    password: str = field(repr=False)


def split(name: str) -> tuple[str, str]:
    """(host, rest) of an image's name or of a prefix of names; docker.io where no host is named."""
    first, slash, rest = name.partition("/")
    # A word alone is a host only where nothing but a host can be meant: localhost:5000, ghcr.io.
    if "." in first or ":" in first or first == "localhost" or first != first.lower():
        return canonical(first), rest
    return DOCKER_HUB, first + slash + rest


def canonical(host: str) -> str:
    """The one name of a host, as images are named."""
    return DOCKER_HUB if host.lower() in _HUB_NAMES else host.lower()


def identity(name: str) -> str:
    """One name for all of an image, or of a prefix, that are the same to whoever fetches it.

    What a name may be used for is decided by this; it is asked for as it was written.
    """
    host, rest = split(name)
    return "/".join(filter(None, (_one_host(host), rest)))


def is_nearby(host: str) -> bool:
    """Whether a host, as images are named, is this machine or has an address of a private network."""
    name = _ported(host)[0]
    return _is_local(name) or ((address := _address(name)) is not None and not address.is_global)


def _one_host(host: str) -> str:
    name, port = _ported(canonical(host))
    if _is_local(name):
        name = _LOCAL
    elif address := _address(name):
        name = f"[{address}]" if address.version == 6 else str(address)
    elif found := _ECR.fullmatch(name):
        name = f"{found[1]}.dkr.ecr.{found[2]}.amazonaws.com"
    name = canonical(_ECR_PUBLIC.get(name, name))
    return name if not port or port in _USUAL_PORTS else f"{name}:{port}"


def _ported(host: str) -> tuple[str, str]:
    """(name, port); a name that is an address of IPv6 stays in brackets."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdecimal():
        return host.lower().rstrip("."), ""
    return name.lower().rstrip("."), port.lstrip("0")


def _is_local(name: str) -> bool:
    address = _address(name)
    if address is not None:
        return address.is_loopback or address.is_unspecified  # which reaches this machine, too
    return name in (_LOCAL, "localhost.localdomain", "ip6-localhost") or name.endswith(f".{_LOCAL}")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """What a name is an address of, written in any way that a resolver takes, such as 127.1."""
    try:
        if name.startswith("["):
            found = ipaddress.IPv6Address(name.strip("[]"))
            return found.ipv4_mapped or found
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (ValueError, OSError):
        return None


def parse_auths(text: str) -> list[Login]:
    """The logins in a config.json of Docker. Raises ValueError, which quotes no value."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("must be JSON such as Docker's config.json") from None
    auths = config.get("auths") if isinstance(config, dict) else None
    if not isinstance(auths, dict):
        raise ValueError('must have the form {"auths": {"ghcr.io": {"auth": …}}}')
    return [_login(_host(name), entry) for name, entry in auths.items()]


def _host(name: str) -> str:
    """Docker's keys are hosts or, for Docker Hub and by older versions, URLs."""
    host = urlsplit(name if "://" in name else f"//{name}").netloc
    if not host:
        raise ValueError(f"auths: {name!r} is no host")
    return canonical(host)


def _login(host: str, entry: Any) -> Login:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise ValueError(f"auths of {host}: must be an object of strings")
    if token := entry.get("identitytoken"):
        return Login(host, IDENTITY_TOKEN, token)
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, password = _decoded(host, entry["auth"])
    if not username or not password:
        raise ValueError(
            f"auths of {host}: needs auth, or username and password, or identitytoken."
            " Where docker login put it into a credential store (credsStore), write it here instead"
        )
    return Login(host, username, password)


def _decoded(host: str, auth: str) -> tuple[str, str]:
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError(f"auths of {host}: auth must be base64 of USERNAME:PASSWORD") from None
    if not colon:
        raise ValueError(f"auths of {host}: auth must be base64 of USERNAME:PASSWORD")
    return username, password.rstrip("\0")
