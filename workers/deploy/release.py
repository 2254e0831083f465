"""The release command, such as a migration: run once in the new image before anything is started.

Where an attempt is repeated it runs again, so it must be one that may.
"""

from __future__ import annotations

import asyncio

from workers.attempt import Attempt
from workers.contract.failure import user
from workers.contract.messages import DeploySpec, Step
from workers.deploy import names
from workers.engine.engine import Command
from workers.tools import Tools


async def released(
    attempt: Attempt, spec: DeploySpec, tools: Tools, network: str, networks: list[str]
) -> None:
    """Run the release command, if there is one, to its end. Raises Failure."""
    if not spec.release_command:
        return
    async with attempt.step(Step.RELEASE):
        await ran(attempt, spec, spec.release_command, tools, network, networks, "The release command")


async def ran(
    attempt: Attempt,
    spec: DeploySpec,
    argv: list[str],
    tools: Tools,
    network: str,
    networks: list[str],
    what: str,
) -> None:
    """Run a command in the release's image, with its environment, to its end. Raises Failure.

    `what` it is, for people.
    """
    command = commanded(attempt, spec, argv, tools, network, networks)
    code = await ended(attempt, command, spec.release_timeout, tools)
    if code is None:
        raise user(
            "release_timeout",
            f"{what} lasted longer than {spec.release_timeout:g} s: raise release_timeout, or make it"
            " quicker",
        )
    if code != 0:
        raise user("release_failed", f"{what} ended with exit code {code}: its output in the log says why")


async def ended(attempt: Attempt, command: Command, timeout: float, tools: Tools) -> int | None:
    """Its exit code, its output in the log; None if it lasted longer than `timeout` seconds. Raises Failure.

    Nothing of it is left, however this ends.
    """
    try:
        async with asyncio.timeout(timeout) as clock:
            return await tools.engine.run(command, attempt.log.write)
    except TimeoutError:
        if not clock.expired():
            raise
        return None


def commanded(
    attempt: Attempt,
    spec: DeploySpec,
    argv: list[str],
    tools: Tools,
    network: str,
    networks: list[str],
    what: str = "release",
) -> Command:
    """A command with all that its release's containers have; `what` it is, for the name of its container."""
    return Command(
        name=names.container(spec, f"-{what}"),
        image=spec.image,
        command=argv,
        entrypoint=True,
        limits=spec.limits,
        labels=names.labels(tools.worker, spec, attempt.ref),
        env={**spec.env, **attempt.credentials.env},
        network=network,
        room=names.room(spec),
        networks=networks,
        volumes=spec.volumes,
        mounts=spec.privileges.host_mounts,
        user=spec.user,
        read_only=spec.read_only,
        privileged=spec.privileges.privileged,
    )
