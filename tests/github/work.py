"""A developer's clone: real git over smart HTTP, with the token in the environment only."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.github.git import git


def credentials(token: str, login: str = "x-access-token") -> dict[str, str]:
    """An environment that lets git answer a server's basic authentication, without any argument or file."""
    basic = base64.b64encode(f"{login}:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "http.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
    }


@dataclass(frozen=True)
class WorkTree:
    path: Path
    env: Mapping[str, str]

    @classmethod
    async def clone(cls, url: str, path: Path, *, login: str, email: str, token: str) -> "WorkTree":
        identity = {
            f"GIT_{role}_{part}": value
            for role in ("AUTHOR", "COMMITTER")
            for part, value in (("NAME", login), ("EMAIL", email))
        }
        work = cls(path, credentials(token, login) | identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        await git("clone", "--quiet", url, os.fspath(path), cwd=path.parent, env=work.env)
        return work

    async def git(self, *arguments: str) -> str:
        return (await git(*arguments, cwd=self.path, env=self.env)).decode().strip()

    async def commit(self, files: Mapping[str, str | bytes | None], *, message: str = "A change") -> str:
        """Write the files (None deletes one), commit everything, and return the new SHA."""
        for name, content in files.items():
            file = self.path / name
            if content is None:
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        await self.git("add", "--all")
        await self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return await self.head()

    async def amend(self, *, message: str) -> str:
        await self.git("commit", "--quiet", "--amend", "--allow-empty", "--message", message)
        return await self.head()

    async def head(self) -> str:
        return await self.git("rev-parse", "HEAD")

    async def checkout(self, branch: str, *, create: bool = False) -> None:
        await self.git("checkout", "--quiet", *(["-B"] if create else []), branch)

    async def tag(self, name: str, *, message: str | None = None) -> None:
        """A lightweight tag on HEAD, or an annotated one when there is a message."""
        await self.git("tag", *(["--annotate", "--message", message] if message else []), name)

    async def push(self, *refs: str, branch: str | None = None, force: bool = False) -> None:
        """Push `branch` (by default the one checked out) or, when given, `refs` (tags, refspecs)."""
        wanted = refs or (branch or "HEAD",)
        await self.git("push", "--quiet", *(["--force"] if force else []), "origin", *wanted)

    async def delete(self, *refs: str) -> None:
        """Delete branches or tags on the server."""
        await self.git("push", "--quiet", "origin", "--delete", *refs)

    async def pull(self) -> str:
        """Take over what the server has for the branch that is checked out; return its SHA."""
        await self.git("fetch", "--quiet", "origin")
        await self.git("reset", "--quiet", "--hard", "@{upstream}")
        return await self.head()
