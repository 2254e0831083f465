"""The release command, such as a migration: run once in the new image before anything is started.

Where an attempt is repeated it runs again, so it must be one that may.
"""

from __future__ import annotations

import asyncio

from workers import names
from workers.attempt import Attempt
from workers.contract.messages import DeploySpec, Step
from workers.engine.engine import Command
from workers.failure import user
from workers.tools import Tools


async def released(
    attempt: Attempt, spec: DeploySpec, tools: Tools, network: str, networks: list[str]
) -> None:
    """Run the release command, if there is one, to its end. Raises Failure."""
    if not spec.release_command:
        return
    async with attempt.step(Step.RELEASE):
        command = _command(attempt, spec, spec.release_command, tools, network, networks)
        try:
            async with asyncio.timeout(spec.release_timeout) as clock:
                code = await tools.engine.run(command, attempt.log.write)
        except TimeoutError:
            if not clock.expired():
                raise
            raise user(
                "release_timeout",
                f"The release command lasted longer than {spec.release_timeout:g} s: raise release_timeout,"
                " or make it quicker",
            ) from None
        if code != 0:
            raise user(
                "release_failed",
                f"The release command ended with exit code {code}: its output in the log says why",
            )


def _command(
    attempt: Attempt, spec: DeploySpec, argv: list[str], tools: Tools, network: str, networks: list[str]
) -> Command:
    return Command(
        name=names.container(spec, "-release"),
        image=spec.image,
        command=argv,
        limits=spec.limits,
        labels=names.labels(tools.worker, spec, attempt.ref),
        env={**spec.env, **attempt.credentials.env},
        network=network,
        networks=networks,
        volumes=spec.volumes,
        mounts=spec.privileges.host_mounts,
        user=spec.user,
        read_only=spec.read_only,
        privileged=spec.privileges.privileged,
    )
