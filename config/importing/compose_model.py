"""What of a Compose file's service is read. All else in it is looked at by compose_keys.py."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from config.habits import Listed, Mapped
from config.importing.compose_values import Mount, Port, command, duration, mount, pairs, port, size
from config.parts import Part

# https://docs.docker.com/reference/dockerfile/#healthcheck
_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3
_LONGEST = 3600
_KINDS: tuple[list[str], ...] = ([], ["CMD"], ["CMD-SHELL"], ["NONE"])
_Seconds = Annotated[float, BeforeValidator(duration)]
_Command = Annotated[list[str], BeforeValidator(command)]
_Pairs = Annotated[dict[str, Any], BeforeValidator(pairs)]


class _Loose(Part):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)


class Build(_Loose):
    """How an image is built; `dockerfile` is relative to `context`."""

    context: str = "."
    dockerfile: str | None = None
    target: str | None = None
    args: _Pairs = {}
    platforms: Listed[str] = []
    secrets: Listed[Any] = []
    ssh: Listed[Any] = []


class Healthcheck(_Loose):
    """A command in the container."""

    test: str | list[str] | None = None
    interval: _Seconds = _INTERVAL
    timeout: _Seconds = _TIMEOUT
    retries: Annotated[int, Field(ge=0, le=_LONGEST)] = _RETRIES
    start_period: _Seconds = 0.0
    disable: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> Healthcheck:
        known = self.test is None or isinstance(self.test, str) or self.test[:1] in _KINDS
        if not known:
            raise ValueError("test must begin with CMD, CMD-SHELL or NONE, or be one line")
        return self

    @property
    def argv(self) -> list[str]:
        """Program and arguments; empty where it is switched off."""
        if self.disable or not self.test or self.test in ("NONE", ["NONE"]):
            return []
        if isinstance(self.test, str):
            return ["sh", "-c", self.test]
        return ["sh", "-c", *self.test[1:]] if self.test[0] == "CMD-SHELL" else self.test[1:]

    def within(self, least: int) -> int:
        """Seconds to become healthy in: what its retries last for, `least` at least."""
        whole = self.start_period + self.retries * (self.interval + self.timeout)
        return round(min(max(least, whole), _LONGEST))


class Limits(_Loose):
    """What one container may use."""

    cpus: float | None = None
    memory: Annotated[str, BeforeValidator(size)] | None = None
    pids: int | None = None


class _Resources(_Loose):
    limits: Limits = Limits()


class _Deploy(_Loose):
    mode: str = "replicated"
    replicas: int | None = None
    resources: _Resources = _Resources()


class Dependency(_Loose):
    """For what of another service one waits."""

    condition: str = "service_started"


class EnvFile(_Loose):
    """A file with variables."""

    path: str
    required: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


def _dependencies(value: Any) -> Any:
    return {str(name): {} for name in value} if isinstance(value, list) else value


def _context(value: Any) -> Any:
    return {"context": value} if isinstance(value, str) else value


class Service(_Loose):
    """https://docs.docker.com/reference/compose-file/services/"""

    build: Annotated[Build | None, BeforeValidator(_context)] = None
    image: str | None = None
    command: _Command | None = None
    cpus: float | None = None
    deploy: _Deploy = _Deploy()
    depends_on: Annotated[Mapped[str, Dependency], BeforeValidator(_dependencies)] = {}
    env_file: Listed[EnvFile] = []
    environment: _Pairs = {}
    expose: Listed[Annotated[Port, BeforeValidator(port)]] = []
    healthcheck: Healthcheck | None = None
    labels: _Pairs = {}
    mem_limit: Annotated[str, BeforeValidator(size)] | None = None
    pids_limit: int | None = None
    platform: str | None = None
    ports: Listed[Annotated[Port, BeforeValidator(port)]] = []
    profiles: Listed[str] = []
    read_only: bool = False
    restart: str | None = None
    scale: int | None = Field(None, ge=0)
    stop_grace_period: _Seconds | None = None
    user: str | None = None
    volumes: Listed[Annotated[Mount, BeforeValidator(mount)]] = []

    @property
    def limits(self) -> dict[str, Any]:
        """As a .blacktree.yml has them."""
        new = self.deploy.resources.limits
        pids = new.pids or self.pids_limit
        said = {
            "memory": new.memory or self.mem_limit,
            "cpus": new.cpus or self.cpus,
            "pids": pids if pids and pids > 0 else None,
        }
        return {key: value for key, value in said.items() if value is not None}

    @property
    def replicas(self) -> int | None:
        return self.deploy.replicas if self.deploy.replicas is not None else self.scale
