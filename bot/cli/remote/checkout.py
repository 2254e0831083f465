"""Which repository, branch and commit somebody stands in, by git's word; nothing where it is none."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass

from config.errors import ConfigError

_REMOTE = re.compile(r"[/:]([A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+?)(?:\.git)?/?$")


@dataclass(frozen=True)
class Checkout:
    """What is known; empty where it is not."""

    repository: str = ""
    branch: str = ""
    sha: str = ""


def here() -> Checkout:
    """The one of this folder."""
    return Checkout(
        repository_of(_git("remote", "get-url", "origin")),
        _git("branch", "--show-current"),
        _git("rev-parse", "HEAD"),
    )


def repository_of(remote: str) -> str:
    """Pure: OWNER/REPO of a remote's address, empty where it has none."""
    found = _REMOTE.search(remote.strip())
    return found[1] if found else ""


def wanted(given: str | None) -> str:
    """The repository that is meant. Raises ConfigError where nobody knows."""
    known = given or here().repository
    if not known:
        raise ConfigError(
            "--repo: say which, as OWNER/REPO: this folder is no checkout with a remote `origin`"
        )
    return known


def _git(*arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run([git, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
