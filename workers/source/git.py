"""git, run so that neither what is in a repository nor this machine's settings have a say.

Tokens are in memory only: git asks a script for them, which reads a file that has no name.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from workers.contract.messages import Credentials
from workers.process import process

_PASSED = re.compile(
    r"^(PATH|LANG|SSL_CERT_(FILE|DIR)|GIT_SSL_CA(INFO|PATH)|CURL_CA_BUNDLE|"
    r"(https?|all|no)_proxy|(HTTPS?|ALL|NO)_PROXY)$"
)
_SAFE = (
    "protocol.allow=never", "protocol.http.allow=always", "protocol.https.allow=always",
    "core.hooksPath=/dev/null", "core.fsmonitor=false", "core.untrackedCache=false", "credential.helper=",
    "gc.auto=0", "maintenance.auto=false", "http.lowSpeedLimit=1000", "http.lowSpeedTime=60",
    "checkout.workers=0",  # as many as there are processors
)  # fmt: skip
_LONGEST = 4 * 1024 * 1024  # characters of an answer
# Files get the modes that git has for them, 644 and 755, whatever this worker is started with: they go into
# images, where another user reads them. Here the folders above keep everybody else out.
_UMASK = 0o022
# Answers only for the place that the token is for: a redirect elsewhere gets nothing. The questions are
# git's (credential.c) and Git LFS's (creds/creds.go), and are matched as wholes: a hostile URL can hold
# anything, but what stands before the last quote is the host that is spoken to.
_ASKPASS = """#!/bin/sh
scheme=$BLACKTREE_GIT_SCHEME host=$BLACKTREE_GIT_HOST
case "$1" in
"Username for '$scheme://$host': " | "Username for \\"$scheme://$host\\"") line=1 ;;
"Password for '$scheme://"*"@$host': " | "Password for \\"$scheme://"*"@$host\\"") line=2 ;;
*) exit 1 ;;
esac
exec sed -n "${line}p" "/proc/self/fd/$BLACKTREE_GIT_FD"
"""


class GitFailed(Exception):
    """git ended with an error; `said` is the end of its output."""

    def __init__(self, verb: str, said: str) -> None:
        super().__init__(f"git {verb}: {last_line(said)}")
        self.verb = verb
        self.said = said


def last_line(said: str) -> str:
    """What of git's output is for people."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "git gave no reason"


@dataclass(frozen=True)
class Login:
    """What makes git know credentials: neither the variables nor the arguments hold any."""

    variables: Mapping[str, str]
    descriptors: tuple[int, ...] = ()


NOBODY = Login({"GIT_ASKPASS": "/bin/false"})


@dataclass(frozen=True)
class Access:
    """Credentials for one place, the scheme, host and port of `url`."""

    url: str
    script: Path
    descriptor: int | None  # None: there are none

    def to(self, url: str) -> Login:
        """What is given to a git that speaks to `url`: nothing unless it is the same place."""
        if self.descriptor is None or place(url) != place(self.url):
            return NOBODY
        scheme, host = place(url)
        variables = {
            "GIT_ASKPASS": str(self.script),
            "BLACKTREE_GIT_FD": str(self.descriptor),
            "BLACKTREE_GIT_SCHEME": scheme,
            "BLACKTREE_GIT_HOST": host,
        }
        return Login(variables, (self.descriptor,))


def place(url: str) -> tuple[str, str]:
    """Scheme, and host with port, of a URL."""
    where = urlsplit(url)
    return where.scheme, where.netloc.rpartition("@")[2]


@contextlib.contextmanager
def access(url: str, credentials: Credentials, folder: Path) -> Iterator[Access]:
    """Make `credentials`, which are for the place of `url`, known to git; the script is in `folder`."""
    script = folder / "askpass"
    if not credentials.git_password:
        yield Access(url, script, None)
        return
    script.write_text(_ASKPASS)
    script.chmod(0o700)
    memory = os.memfd_create("blacktree-git", os.MFD_CLOEXEC)
    try:
        os.write(memory, f"{credentials.git_username}\n{credentials.git_password}\n".encode())
        yield Access(url, script, memory)
    finally:
        os.close(memory)


@dataclass(frozen=True)
class Git:
    """git for one git folder, and for one work tree if it has one."""

    environ: Mapping[str, str]
    folder: Path
    tree: Path | None = None

    async def run(
        self,
        verb: str,
        *arguments: str,
        output: Callable[[str], None],
        login: Login = NOBODY,
        settings: Sequence[str] = (),
    ) -> str:
        """Do something; what git says goes to `output`, its end is returned. Raises GitFailed."""
        ended = await process.run(
            [*self._start(settings), verb, *arguments],
            env={**_environment(self.environ), **login.variables},
            cwd=Path("/"),
            output=output,
            pass_fds=login.descriptors,
            umask=_UMASK,
        )
        if ended.code != 0:
            raise GitFailed(verb, ended.tail)
        return ended.tail

    async def ask(self, verb: str, *arguments: str) -> str:
        """What git answers, all of it, without the last newline. Raises GitFailed."""
        blocks: list[str] = []
        size = 0

        def keep(block: str) -> None:
            nonlocal size
            size += len(block)
            if size <= _LONGEST:
                blocks.append(block)

        await self.run(verb, *arguments, output=keep)
        if size > _LONGEST:
            raise GitFailed(verb, f"the answer has more than {_LONGEST:,} characters")
        return "".join(blocks).rstrip("\n")

    def _start(self, settings: Sequence[str]) -> list[str]:
        start = ["git", f"--git-dir={self.folder}"]
        if self.tree is not None:
            start.append(f"--work-tree={self.tree}")
        return start + [part for setting in (*_SAFE, *settings) for part in ("-c", setting)]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if _PASSED.match(name)} | {
        "LC_ALL": "C",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_DEFAULT_REF_FORMAT": "files",
        "GIT_TERMINAL_PROMPT": "0",
    }
