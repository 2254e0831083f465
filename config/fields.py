"""The kinds of values that a `.blacktree.yml` may have, each bounded, with what is told of a bad one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from config.durations import seconds

SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.IGNORECASE)
# https://docs.docker.com/engine/containers/resource_constraints/
_LEAST_MEMORY = 6 * 1024**2
_LONGEST = 365 * 86_400
_MOST_CHECKS = 64
_MOST_WORD = 1024
_UNIT = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError("must stay inside the repository: a relative path without '..'")
    return path


def _size(text: str) -> str:
    if not SIZE.fullmatch(text):
        raise ValueError("must be a size such as 512m or 2g")
    if size_bytes(text) < _LEAST_MEMORY:
        raise ValueError("must be at least 6m: Docker gives a container no less")
    return text


def size_bytes(text: str) -> int:
    """The bytes of a size that is well formed."""
    number, unit = SIZE.fullmatch(text).groups()  # type: ignore[union-attr]
    return int(number) * _UNIT[unit.lower()]


Inside = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Size = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]+[kmgKMG]?[bB]?$"}), AfterValidator(_size)]


def _cron(text: str) -> str:
    from apscheduler.triggers.cron import CronTrigger  # only a bot has it

    try:
        CronTrigger.from_crontab(text, timezone="UTC")
    except ValueError as error:
        raise ValueError(f"must be five fields of cron: {error}") from None
    return text


def _span(text: str) -> str:
    if seconds(text) > _LONGEST:
        raise ValueError("must be at most 365d")
    return text


def _printable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not have a NUL character")
    return text


def _checks(value: Any) -> Any:
    names = value if isinstance(value, list) else []
    if not isinstance(value, bool | list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("must be true, false or a list of checks' names")
    if len(names) > _MOST_CHECKS or any(len(name) > _MOST_WORD for name in names):
        raise ValueError(f"must have at most {_MOST_CHECKS} names of at most {_MOST_WORD} characters")
    return value


def _placeholders(text: str, known: Iterable[str]) -> str:
    for name in re.findall(r"\{([^{}]*)\}", text):
        if name not in known:
            raise ValueError(f"there is no {{{name}}}. Known are {', '.join(known)}")
    if re.sub(r"\{[a-z_]+\}", "", text).strip(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
    ):
        raise ValueError("has characters that can't be there")
    return text


def _tag_template(text: str) -> str:
    return _placeholders(text, TAG_PARTS)


def _domain(text: str) -> str:
    return _placeholders(text, ("pr", "repository", "environment", "branch"))


def _absolute(path: str) -> str:
    if not path.startswith("/") or ".." in PurePosixPath(path).parts or path == "/":
        raise ValueError("must be an absolute path in the container")
    return path


TAG_PARTS = ("branch", "tag", "version", "major", "minor", "sha", "short_sha", "pr")
Word = Annotated[str, Field(min_length=1, max_length=_MOST_WORD), AfterValidator(_printable)]
Argument = Annotated[str, Field(max_length=4096), AfterValidator(_printable)]
Value = Annotated[str, Field(max_length=8192), AfterValidator(_printable)]
Checks = Annotated[bool | list[Word], BeforeValidator(_checks)]
Registry = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*$", max_length=255),
]
Glob = Annotated[str, Field(min_length=1, max_length=255)]
TagTemplate = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_template)]
Domain = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_domain)]
MountPath = Annotated[str, Field(max_length=512), AfterValidator(_absolute)]
Span = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]{1,6}[smhd]$"}), AfterValidator(_span)]
Cron = Annotated[str, Field(max_length=100), AfterValidator(_cron)]
Platform = Annotated[str, Field(pattern=r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$", max_length=64)]
PoolName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}(\[bot\])?$")]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]
# A path of the repository's, or its negation; git reads patterns of one line each.
Sparse = Annotated[str, Field(pattern=r"^!?[^\x00-\x1f!-][^\x00-\x1f]{0,254}$")]
