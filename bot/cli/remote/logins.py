"""Which bots somebody has signed in to: addresses and tokens, in a file of their own, for its owner alone."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from config.errors import ConfigError

MISSING = "you are not signed in to a bot: `blacktree login URL`, with its token from standard input"


@dataclass(frozen=True)
class Login:
    """A bot, and what opens it."""

    url: str
    token: str = field(repr=False)


def place() -> Path:
    """https://specifications.freedesktop.org/basedir-spec/latest/"""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "blacktree" / "logins.json"


def found(url: str | None = None) -> Login:
    """That of `url`, or the one that was made last. Raises ConfigError."""
    if (login := known(url)) is None:
        raise ConfigError(f"{address(url)}: {MISSING.replace('URL', address(url))}" if url else MISSING)
    return login


def known(url: str | None = None) -> Login | None:
    """The same, or None where there is none. Raises ConfigError for what is no file of them."""
    there = _read()
    wanted = address(url) if url else str(there.get("last", ""))
    token = there.get("tokens", {}).get(wanted)
    return Login(wanted, token) if token else None


def keep(login: Login) -> None:
    """Raises ConfigError."""
    known = _read()
    tokens = {**known.get("tokens", {}), login.url: login.token}
    _write({"last": login.url, "tokens": tokens})


def forget(url: str | None) -> str:
    """Forget one; which. Raises ConfigError where there is none."""
    gone = found(url)
    tokens = {url: token for url, token in _read()["tokens"].items() if url != gone.url}
    _write({"last": next(iter(tokens), ""), "tokens": tokens})
    return gone.url


def address(given: str) -> str:
    """An address as it is kept. Raises ConfigError."""
    parts = urlsplit(given if "://" in given else f"https://{given}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise ConfigError(f"{given}: give the bot's address, such as https://ci.example.com")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/api/v1')}"


def _read() -> dict[str, Any]:
    file = place()
    try:
        if file.stat().st_mode & 0o077:
            raise ConfigError(f"{file}: others on this machine may read it: chmod 600 {file}")
        known = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}): remove it, and sign in again") from None
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, object]) -> None:
    """Whole, or not at all; for its owner alone from its first byte on."""
    file = place()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent)  # 0600, by its own promise
        with os.fdopen(descriptor, "w") as output:
            json.dump(known, output)
        Path(name).replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
