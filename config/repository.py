"""A repository's `.blacktree.yml`: what is built, and what runs where.

A repository with only a Dockerfile needs none: the defaults build it, run its default branch as
`production` and each pull request as a preview.
"""

from __future__ import annotations

import io
import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from config.errors import ConfigError, nearest, sentences

FILE = ".blacktree.yml"
MOST_BYTES = 65_536
_MOST_BRACKETS = 2000  # nested ones take a parser seconds
PREVIEW = "preview"
_PULL = re.compile(r"pr-\d+")

_SIZE = re.compile(r"^(\d+)([kmg]?)b?$", re.IGNORECASE)
# https://docs.docker.com/engine/containers/resource_constraints/
_LEAST_MEMORY = 6 * 1024**2
_UNIT = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise ValueError("must stay inside the repository: a relative path without '..'")
    return path


def _size(text: str) -> str:
    if not (match := _SIZE.match(text)):
        raise ValueError("must be a size such as 512m or 2g")
    if _bytes(match) < _LEAST_MEMORY:
        raise ValueError("must be at least 6m: Docker gives a container no less")
    return text


def _bytes(size: re.Match[str]) -> int:
    return int(size[1]) * _UNIT[size[2].lower()]


Inside = Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$")]
Size = Annotated[str, AfterValidator(_size)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Image(_Part):
    """One image to build."""

    context: Inside = Field(".", description="folder that is sent to the builder")
    dockerfile: Inside = Field("Dockerfile", description="relative to the repository")
    target: str | None = Field(None, max_length=128, description="stage to stop at")
    args: dict[EnvName, str] = Field({}, max_length=64, description="build arguments")
    timeout: int = Field(1800, ge=1, le=86_400, description="seconds that the build may last")


class Health(_Part):
    """When a new release counts as healthy, seen from outside the container."""

    path: str = Field("/", pattern=r"^/", max_length=512, description="an HTTP GET of it answers below 500")
    timeout: int = Field(60, ge=1, le=3600, description="seconds to become healthy in")
    interval: float = Field(0.5, ge=0.1, le=60, description="seconds between two probes")


class Limits(_Part):
    """What one container may use."""

    memory: Size = "512m"
    cpus: float = Field(1.0, gt=0, le=256)
    pids: int = Field(512, ge=1, le=65_536)

    @property
    def memory_bytes(self) -> int:
        match = _SIZE.match(self.memory)
        assert match is not None, "validated"  # noqa: S101
        return _bytes(match)


class Environment(_Part):
    """A place that the repository runs in; `preview` is the pattern for each pull request's own."""

    branch: str | None = Field(None, max_length=255, description="whose pushes reach it; the default branch")
    image: Name | None = Field(None, description="which of the images; the only one if left out")
    port: int | None = Field(None, ge=1, le=65535, description="the first exposed one if left out")
    command: list[str] | None = Field(None, max_length=64)
    env: dict[EnvName, str] = Field({}, max_length=256)
    health: Health = Health()
    limits: Limits = Limits()


class Repository(_Part):
    """The whole file."""

    images: dict[Name, Image] = Field({"app": Image()}, min_length=1, max_length=32)
    environments: dict[Name, Environment] = Field(
        {"production": Environment(), PREVIEW: Environment()}, max_length=32
    )

    @model_validator(mode="after")
    def _images_exist(self) -> Repository:
        for name, environment in self.environments.items():
            if _PULL.fullmatch(name):
                raise ValueError(f"environments.{name}: such names are those of pull requests' previews")
            if environment.image is None and len(self.images) > 1:
                raise ValueError(f"environments.{name}.image: say which of {', '.join(self.images)} it runs")
            if environment.image is not None and environment.image not in self.images:
                raise ValueError(
                    f"environments.{name}.image: there is no image {environment.image}."
                    f"{nearest(environment.image, self.images)}"
                )
        return self

    def image_of(self, environment: Environment) -> str:
        return environment.image or next(iter(self.images))


def parse(text: str | None) -> Repository:
    """The file's model; the defaults where there is no file (None).

    Raises ConfigError with a line `.blacktree.yml:LINE: KEY: what is wrong` for each fault.
    """
    if text is None:
        return Repository()
    if len(text.encode()) > MOST_BYTES:
        raise ConfigError(f"{FILE}: is over {MOST_BYTES} bytes")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ConfigError(f"{FILE}: has over {_MOST_BRACKETS} brackets")
    try:
        data = YAML(typ="rt").load(io.StringIO(text))
    except (YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "unreadable"
        raise ConfigError(f"{FILE}{line}: is not YAML: {problem}") from None
    if data is None:
        return Repository()
    if not isinstance(data, dict):
        raise ConfigError(f"{FILE}:1: must be a mapping with the keys {', '.join(Repository.model_fields)}")
    try:
        return Repository.model_validate(data)
    except ValidationError as error:
        raise ConfigError("\n".join(_fault(data, *item) for item in sentences(error))) from None


def _fault(data: Any, where: tuple[str | int, ...], sentence: str) -> str:
    keys = [part for part in where if part != "[key]"]
    if sentence == "Extra inputs are not permitted":
        sentence = f"there is no such key.{nearest(str(keys[-1]), _known(keys[:-1]))}"
    line = _line(data, keys)
    return f"{FILE}{f':{line}' if line else ''}: {'.'.join(map(str, keys)) or 'file'}: {sentence}"


def _known(keys: list[str | int]) -> list[str]:
    """The valid keys of the part at `keys`: every second level is a name that people choose."""
    models: dict[tuple[str, ...], type[_Part]] = {
        (): Repository,
        ("images",): Image,
        ("environments",): Environment,
        ("environments", "health"): Health,
        ("environments", "limits"): Limits,
    }
    path = tuple(str(key) for index, key in enumerate(keys) if index != 1)
    return list(models[path].model_fields) if path in models else []


def _line(data: Any, keys: list[str | int]) -> int | None:
    """The line (from 1) of the deepest of `keys` that the file has."""
    line = None
    for key in keys:
        try:
            line = (data.lc.key(key) if key in data else data.lc.item(key))[0] + 1
            data = data[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line
