"""A DOCKER_CONFIG for one child process: the user's own, with an attempt's logins. Never on a disk."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from config.registries import IDENTITY_TOKEN
from workers.contract.messages import RegistryLogin

# The name that the docker CLI keeps Docker Hub's login under.
_HUB = "https://index.docker.io/v1/"
_LOGINS = {"auths", "credsStore", "credHelpers", "HttpHeaders"}
_HUBS = {"docker.io", "index.docker.io", "registry-1.docker.io"}


def places(environ: Mapping[str, str]) -> Path:
    """Where such folders are made: memory, if this machine has such a place."""
    for place in ("/dev/shm", environ.get("XDG_RUNTIME_DIR", "")):  # noqa: S108
        if place and os.access(place, os.W_OK):
            return Path(place)
    return Path(tempfile.gettempdir())


def own_config(environ: Mapping[str, str]) -> Path:
    """The folder of the user's own docker configuration."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "/root")) / ".docker")


@contextlib.contextmanager
def docker_config(
    logins: Sequence[RegistryLogin], environ: Mapping[str, str], prefix: str, *, stranger: bool = False
) -> Iterator[dict[str, str]]:
    """The variables that lead a docker CLI to a configuration with `logins`; it is gone afterwards.

    A `stranger` gets none of the logins that the user has there.
    """
    own = own_config(environ)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=places(environ)))
    try:
        config = _read(own / "config.json")
        if stranger:
            config = {key: value for key, value in config.items() if key not in _LOGINS}
        (folder / "config.json").write_text(json.dumps(merged(config, logins)))
        for name in ("cli-plugins", "contexts"):
            if (own / name).exists():
                (folder / name).symlink_to((own / name).resolve())
        yield {
            "DOCKER_CONFIG": str(folder),
            "BUILDX_CONFIG": environ.get("BUILDX_CONFIG") or str(own / "buildx"),
        }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def merged(config: Mapping[str, Any], logins: Sequence[RegistryLogin]) -> dict[str, Any]:
    """`config` in which `logins` win over whatever it says about their hosts."""
    auths = dict(config.get("auths") or {})
    helpers = dict(config.get("credHelpers") or {})
    for login in logins:
        host = _HUB if login.host in _HUBS else login.host
        auths[host] = _entry(login)
        # An empty helper makes the CLI read `auths` for this host, whatever `credsStore` is.
        helpers[host] = ""
    if config.get("credsStore") or config.get("credHelpers"):
        return {**config, "auths": auths, "credHelpers": helpers}
    return {**config, "auths": auths}


def _entry(login: RegistryLogin) -> dict[str, str]:
    if login.username == IDENTITY_TOKEN:
        return {"identitytoken": login.password}
    return {"auth": base64.b64encode(f"{login.username}:{login.password}".encode()).decode()}


def _read(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
