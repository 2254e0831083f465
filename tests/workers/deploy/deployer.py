"""A deploy in a process of its own, to be killed: it halts once it has done a step.

Argument: JSON with worker, release, step, and the spec. It prints the log, then `HALTED`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

from workers.attempt import Attempt
from workers.contract.messages import AttemptRef, Credentials, DeploySpec, Event, LogChunk, Step
from workers.deploy.deploy import deploy
from workers.engine.docker import DockerEngine
from workers.tools import Tools


class Halting(Attempt):
    """An attempt that never comes past one of its steps."""

    until: Step

    @contextlib.asynccontextmanager
    async def step(self, name: Step) -> AsyncIterator[None]:
        async with super().step(name):
            yield
            if name is self.until:
                await _halt()


class Silent:
    """A bot that never answers."""

    async def request(self, *_: Any) -> None:
        await _halt()


async def _halt() -> None:
    print("HALTED", flush=True)
    await asyncio.Event().wait()


async def _print(event: Event) -> None:
    if isinstance(event, LogChunk):
        print(event.text, flush=True)


async def main(told: dict[str, Any]) -> None:
    spec = DeploySpec.model_validate(told["spec"])
    attempt = Halting(
        AttemptRef(job=told["job"], attempt=1), spec, Credentials(), Path(told["folder"]), _print
    )
    attempt.until = Step(told["step"])
    tools = Tools(
        worker=told["worker"], address="127.0.0.1", engine=DockerEngine(os.environ, told["owner"]),
        queue=cast(Any, Silent()), builder=cast(Any, None), environ=os.environ, mirrors=cast(Any, None),
        registries=cast(Any, None), build_limit=cast(Any, None),
    )  # fmt: skip
    async with attempt.opened():
        await deploy(attempt, spec, tools)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
