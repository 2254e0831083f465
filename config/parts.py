"""What the parts of a `.blacktree.yml` have in common, and those that more than one of them has."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from config.fields import Command, HealthPath, Size, size_bytes


class Part(BaseModel):
    """A mapping of the file: nothing unknown is in it, and nothing at all is an empty one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_a_mapping(cls, value: Any) -> Any:
        return {} if value is None else value


class Health(Part):
    """When a new release counts as healthy, seen from outside the container but for `command`."""

    kind: Literal["http", "tcp", "image", "up", "command"] = Field(
        "http", description="a GET, a connection, the image's own HEALTHCHECK, staying up, or a command"
    )
    path: HealthPath = Field("/", description="an HTTP GET of it answers below 500")
    status: int | None = Field(None, ge=100, le=599, description="what it answers instead of any below 500")
    timeout: int = Field(60, ge=1, le=3600, description="seconds to become healthy in")
    interval: float = Field(0.5, ge=0.1, le=60, description="seconds between two probes")
    lasts: float = Field(5, ge=0.1, le=600, description="of `kind: up`: seconds without an end")
    command: Command | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="of `kind: command`: run in the container until it ends with 0",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_command_is_its_kind(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("command") is not None:
            return {"kind": "command", **value}
        return value

    @model_validator(mode="after")
    def _fits(self) -> Health:
        if (self.kind == "command") != (self.command is not None):
            raise ValueError("kind: command and a `command` belong together: write both, or `command` alone")
        return self


class Limits(Part):
    """What one container may use."""

    memory: Size = Field("512m", description="a size such as 512m or 2g")
    cpus: float = Field(1.0, gt=0, le=256, description="processors, also parts of one")
    pids: int = Field(512, ge=1, le=65_536, description="processes and threads")

    @property
    def memory_bytes(self) -> int:
        return size_bytes(self.memory)
