"""Git as a child process: one call, one command, never a shell."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path


class GitError(Exception):
    """A git command ended with an exit code that its caller did not expect."""

    def __init__(self, arguments: tuple[str, ...], code: int, stderr: str) -> None:
        super().__init__(f"git {' '.join(arguments)}: exit code {code}: {stderr.strip()}")
        self.code = code
        self.stderr = stderr


def environment(**more: str) -> dict[str, str]:
    """An environment in which no configuration of this machine's user or system counts."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.devnull,
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        **more,
    }


async def git(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    expect: tuple[int, ...] = (0,),
) -> bytes:
    """Run git and return what it wrote to stdout; an exit code outside `expect` raises GitError."""
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env=environment(**(env or {})),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await process.communicate(stdin)
    except BaseException:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    code = process.returncode or 0
    if code not in expect:
        raise GitError(arguments, code, stderr.decode(errors="replace"))
    return stdout
