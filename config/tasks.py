"""The `tasks` of an environment in `.blacktree.yml`: commands that run once in the release that is live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from config.durations import seconds
from config.errors import nearest
from config.fields import Command, Cron, Name, Span
from config.parts import Part

if TYPE_CHECKING:
    from config.repository import Environment

Misfit = tuple[tuple[str | int, ...], str]


class Task(Part):
    """A command that runs once in the live release's image; a command alone will do."""

    command: Command = Field(min_length=1, max_length=64, description="program and arguments; no shell")
    cron: Cron | None = Field(None, description="when it runs by itself: five fields, in UTC")
    timeout: Span = Field("1h", description="how long it may last")
    overlap: Literal["skip", "queue"] = Field(
        "skip", description="what becomes of it while the one before still runs"
    )
    process: Name | None = Field(
        None, description="whose image, variables and limits it has; the environment's own if left out"
    )
    retry: bool = Field(False, description="whether it runs again where its worker was lost meanwhile")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"command": value} if isinstance(value, list | str) else value

    @property
    def timeout_seconds(self) -> int:
        return seconds(self.timeout)


def misfits(environments: Mapping[str, Environment]) -> Iterator[Misfit]:
    """What of tasks does not fit together, each as (where, sentence)."""
    for name, environment in environments.items():
        for key, task in environment.tasks.items():
            where = ("environments", name, "tasks", key)
            if task.process is not None and task.process not in environment.processes:
                near = nearest(task.process, environment.processes)
                yield (*where, "process"), f"there is no process {task.process}.{near}"
