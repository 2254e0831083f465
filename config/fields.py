"""The kinds of values that a `.blacktree.yml` may have, each bounded, with what is told of a bad one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from config.cron import checked
from config.durations import seconds
from config.habits import SWITCHES, split_command

SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.IGNORECASE)
# https://docs.docker.com/engine/containers/resource_constraints/
_LEAST_MEMORY = 6 * 1024**2
_LONGEST = 365 * 86_400
_MOST_CHECKS = 64
_MOST_WORD = 1024
_UNIT = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
# What an engine's kernel has there, and the engine itself: no volume can be meant.
_ENGINES = (
    *("/proc", "/sys", "/dev", "/var/lib/docker", "/var/lib/containerd"),
    *("/run/docker.sock", "/var/run/docker.sock", "/run/containerd", "/var/run/containerd"),
)
# https://www.rfc-editor.org/rfc/rfc9110: of requests, of one answer, or of the connection it travels by.
_NO_HEADER = {
    "host": "it belongs to requests",
    "location": "every answer would lead away",
    "server": "the proxy says who it is",
    "date": "the proxy says it",
    "content-length": "each answer has its own",
    "content-encoding": "each answer has its own",
    "content-range": "each answer has its own",
    "content-type": "each answer has its own",
    **dict.fromkeys(
        (
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ),
        "it is about the connection",
    ),
}


@dataclass(frozen=True)
class Spelled:
    """A text that fits a pattern, and what is told of one that does not."""

    pattern: str
    told: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^({self.pattern})$"}

    def _checked(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.told)
        return text


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError("must stay inside the repository: a relative path without '..'")
    if path.startswith("-") or "://" in path:
        raise ValueError("must be a path in the repository, which begins with no - and is no URL")
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


def _span(text: str) -> str:
    if seconds(text) > _LONGEST:
        raise ValueError("must be at most 365d")
    return text


def _printable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not have a NUL character")
    return text


def _checks(value: Any) -> Any:
    if isinstance(value, str) and not value.isdigit():
        value = SWITCHES.get(value.lower(), [value])
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


def host_template(text: str, known: Iterable[str]) -> str:
    """A template of a host name. Raises ValueError with what to write instead."""
    name = re.sub(r"^[a-z][a-z0-9+.-]*://", "", text, flags=re.IGNORECASE).partition("/")[0]
    if name and name != text:
        raise ValueError(f"must be a host name alone: write {name}")
    if re.search(r":[0-9]+$", text):
        raise ValueError("must be a host name alone: the proxy's ports are the instance's")
    _placeholders(text, known)
    labels = re.sub(r"\{[a-z_]+\}", "x", text).removesuffix(".").split(".")
    if not all(re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", label) for label in labels):
        raise ValueError("must be a host name, such as www.example.com")
    return text


def _domain(text: str) -> str:
    return host_template(text, ("pr", "repository", "environment", "branch"))


def _mount_path(path: str) -> str:
    place = PurePosixPath("/" + path.lstrip("/"))
    if not path.startswith("/") or ".." in place.parts or place == PurePosixPath("/"):
        raise ValueError("must be an absolute path in the container")
    if ":" in path or not path.isprintable():
        raise ValueError("must be an absolute path in the container, without a colon")
    if any(place.is_relative_to(one) for one in _ENGINES):
        raise ValueError("is the kernel's or the engine's own: name another folder")
    return path


def _host_mount(text: str) -> str:
    source, _, rest = text.partition(":")
    place, _, mode = rest.partition(":")
    if not source.startswith("/") or not place or mode not in ("", "ro", "rw"):
        raise ValueError("must be HOST:CONTAINER or HOST:CONTAINER:ro, both of them absolute paths")
    _mount_path(place)
    return text


def _header_name(name: str) -> str:
    if why := _NO_HEADER.get(name.lower()):
        raise ValueError(f"can't be added to every answer: {why}")
    return name


TAG_PARTS = ("branch", "tag", "version", "major", "minor", "sha", "short_sha", "pr")
Inside = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_inside)]
Name = Annotated[
    str,
    Spelled(
        r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?",
        "must have small letters, digits and hyphens only, such as web or web-2, and 40 characters at most",
    ),
]
Size = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]+[kmgKMG]?[bB]?$"}), AfterValidator(_size)]
Word = Annotated[str, Field(min_length=1, max_length=_MOST_WORD), AfterValidator(_printable)]
Argument = Annotated[str, Field(max_length=4096), AfterValidator(_printable)]
Command = Annotated[list[Argument], BeforeValidator(split_command)]
Value = Annotated[str, Field(max_length=8192), AfterValidator(_printable)]
Checks = Annotated[bool | list[Word], BeforeValidator(_checks)]
REGISTRY = Spelled(
    r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*",
    "must be a registry in small letters without https://, such as ghcr.io/acme",
)
Registry = Annotated[str, Field(max_length=255), REGISTRY]
Glob = Annotated[str, Field(min_length=1, max_length=255), AfterValidator(_printable)]
Branch = Annotated[
    str,
    Field(max_length=255),
    # https://git-scm.com/docs/git-check-ref-format
    Spelled(r"(?!-)[^\x00-\x20\x7f~^:?*\[\\]+", "must be a branch's name; globs go into branches"),
]
TagTemplate = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_template)]
Domain = Annotated[str, Field(min_length=1, max_length=253), AfterValidator(_domain)]
MountPath = Annotated[str, Field(max_length=512), AfterValidator(_mount_path)]
HostMount = Annotated[str, Field(max_length=1024), AfterValidator(_printable), AfterValidator(_host_mount)]
Span = Annotated[str, Field(json_schema_extra={"pattern": "^[0-9]{1,6}[smhd]$"}), AfterValidator(_span)]
Cron = Annotated[str, Field(max_length=100), AfterValidator(checked)]
Platform = Annotated[
    str,
    Field(max_length=64),
    Spelled(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?", "must be a platform, such as linux/amd64"),
]
PoolName = Annotated[
    str, Spelled(r"[a-z0-9][a-z0-9_.-]{0,62}", "must be a pool's name: small letters, digits and . _ -")
]
Label = Annotated[
    str, Spelled(r"[a-z0-9][a-z0-9_.-]{0,30}", "must be a label of workers: small letters, digits and . _ -")
]
Login = Annotated[
    str, Spelled(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}(\[bot\])?", "must be a login, such as octocat, without @")
]
EnvName = Annotated[
    str,
    Spelled(
        r"[A-Za-z_][A-Za-z0-9_]{0,127}", "must be a variable's name: letters, digits and _, such as API_KEY"
    ),
]
Stage = Annotated[
    str, Spelled(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", "must be the name of a stage in the Dockerfile")
]
User = Annotated[
    str, Spelled(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", "must be a user, such as app, 1000 or 1000:1000")
]
HealthPath = Annotated[
    str, Spelled(r"/[!-~]{0,511}", "must be a path that begins with /, without spaces, such as /healthz")
]
# As Caddy's matcher takes it to the letter: no star, no placeholder.
RoutePath = Annotated[
    str,
    Spelled(
        r"(/[A-Za-z0-9_.~-]+)+/?",
        "must be a path such as /api: letters, digits and _ . ~ - between slashes, and not / alone",
    ),
    Field(max_length=255),
]
HeaderName = Annotated[
    str,
    Spelled(r"[A-Za-z][A-Za-z0-9-]{0,63}", "must be a header's name, such as X-Frame-Options"),
    AfterValidator(_header_name),
]
# https://www.rfc-editor.org/rfc/rfc9110#section-5.5
HeaderValue = Annotated[
    str,
    Field(max_length=8192),
    Spelled(r"[^\x00-\x08\x0a-\x1f\x7f]*", "must be one line, without control characters"),
]
# A path of the repository's, or its negation; git reads patterns of one line each.
Sparse = Annotated[
    str, Spelled(r"!?[^\x00-\x1f!-][^\x00-\x1f]{0,254}", "must be a path of one line that no - begins")
]
