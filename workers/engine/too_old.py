"""Pure: a Dockerfile that asks for what this worker's builder is too old for ▸ what to do about it.

Docker says `Unknown flag: link`, or takes the second line of a heredoc for an instruction, and no more.
"""

from __future__ import annotations

import re

from workers.contract.failure import Failure, final

_FLAG = re.compile(r"(dockerfile parse error.*?)unknown flag: (?:--)?([a-z-]+)", re.I)
_INSTRUCTION = re.compile(r"dockerfile parse error.*?unknown instruction: \S+", re.I)
_CLASSIC = re.compile(r"the --([a-z-]+) option requires BuildKit", re.I)
_HEREDOC = re.compile(r"^\s*(?:RUN|COPY|ADD)\b.*<<-?\s*[\"']?\w", re.I | re.M)
# Flags ▸ the version of Dockerfiles that has them: https://docs.docker.com/reference/dockerfile/
_SINCE = {
    "keep-git-dir": "1.1", "chmod": "1.2", "mount": "1.2", "network": "1.3", "link": "1.4", "checksum": "1.6",
    "unpack": "1.17", "exclude": "1.19", "parents": "1.20", "security": "1.20",
}  # fmt: skip
_HEREDOCS_SINCE = "1.4"
_SYNTAX = "begin the Dockerfile with the line `# syntax=docker/dockerfile:1`"
_INSTALL = "install Docker 23 or newer with docker buildx on the worker"


def too_old(said: str, dockerfile: str, builder: str) -> Failure | None:
    """What to tell where a build failed with the words `said` for its builder's age; else None.

    `dockerfile` is its text, and `builder` says which one it was.
    """
    if match := _CLASSIC.search(said):
        return _failure(f"the Dockerfile's --{match[1]} needs BuildKit", builder, _INSTALL)
    if (match := _FLAG.search(said)) and match[2] == "start-interval":
        todo = "install Docker 25 or newer on the worker"
        return _failure(f"{match[0]}: --start-interval came with Docker 25", builder, todo)
    if match and (since := _SINCE.get(match[2])):
        return _failure(f"{match[0]}: --{match[2]} came with Dockerfile {since}", builder)
    if (match := _INSTRUCTION.search(said)) and _HEREDOC.search(dockerfile):
        return no_heredocs(match[0], builder)
    return None


def no_heredocs(said: str, builder: str) -> Failure:
    """What to tell of a Dockerfile that can be read with heredocs only."""
    return _failure(f"{said}: heredocs came with Dockerfile {_HEREDOCS_SINCE}", builder)


def _failure(what: str, builder: str, todo: str = f"{_SYNTAX}, or {_INSTALL}") -> Failure:
    sentence = f"{what}, and this worker's builder is older ({builder}): {todo}"
    return final("builder_too_old", sentence[0].upper() + sentence[1:])
