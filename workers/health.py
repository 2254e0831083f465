"""New containers are watched from outside until all of them are healthy, or one will not be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec
from workers.engine.engine import Container
from workers.failure import user
from workers.probe import Seen, asker, look
from workers.together import together
from workers.tools import Tools

_LAST_LINES = 20
_LAST_WORDS = 0.02  # seconds that what it has said until it was healthy gets to arrive


async def checked(
    attempt: Attempt, spec: DeploySpec, containers: list[Container], port: int, tools: Tools
) -> None:
    """Wait until all are healthy; what they print meanwhile is in the log. Raises Failure."""
    async with asker() as client:
        await together(
            _healthy(attempt, spec, container, port, _said_by(attempt, place, len(containers)), client, tools)
            for place, container in enumerate(containers, start=1)
        )
    for container in containers:
        await tools.engine.keep(container.id, spec.restart)


def _said_by(attempt: Attempt, place: int, replicas: int) -> Callable[[str], None]:
    """Where a container's output goes: with several of them each line says whose it is."""
    if replicas == 1:
        return attempt.log.write
    return lambda text: attempt.log.write("".join(f"#{place} {line}" for line in text.splitlines(True)))


async def _healthy(
    attempt: Attempt,
    spec: DeploySpec,
    container: Container,
    port: int,
    output: Callable[[str], None],
    client: httpx2.AsyncClient,
    tools: Tools,
) -> None:
    seen = Seen(False, "it did not answer")
    try:
        async with tools.engine.following(container.id, output, _LAST_WORDS):
            async with asyncio.timeout(spec.probe.timeout) as clock:
                while not seen.healthy:
                    now = await _alive(container, tools)
                    seen = await _look(client, now, spec)
                    if not seen.healthy:
                        await asyncio.sleep(spec.probe.interval)
            await _alive(container, tools)
    except TimeoutError:
        if not clock.expired():
            raise
        await _show_last_lines(attempt, container, tools)
        raise user("unhealthy", unhealthy(spec, port, seen)) from None
    except _Crashed as crash:
        await _show_last_lines(attempt, container, tools)
        raise user("crashed", crash.sentence) from None
    output(f"healthy: {seen.what}\n")


async def _look(client: httpx2.AsyncClient, container: Container, spec: DeploySpec) -> Seen:
    if spec.probe.kind == "image":
        said = f" ({container.health_said[-200:]})" if container.health_said else ""
        return Seen(container.health == "healthy", f"its HEALTHCHECK says {container.health}{said}")
    return await look(client, container.address or "", spec.probe)


class _Crashed(Exception):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


async def _alive(container: Container, tools: Tools) -> Container:
    found = await tools.engine.container(container.id)
    if found is None:
        raise _Crashed("The container was removed by somebody else while it started")
    if found.out_of_memory:
        raise _Crashed("The container ran out of memory while it started: raise limits.memory")
    if found.exit_code in (126, 127) and not found.running:
        raise _Crashed(
            f"The container's command cannot be run (exit code {found.exit_code}):"
            " check `command`, or CMD and ENTRYPOINT in the Dockerfile"
        )
    if not found.running or found.restarts:
        raise _Crashed(
            f"The container ended with exit code {found.exit_code} while it started:"
            " its last lines in the log say why"
        )
    return found


def unhealthy(spec: DeploySpec, port: int, seen: Seen) -> str:
    """Pure: what a person is told of a release that was not healthy in time."""
    if spec.probe.kind == "image":
        return f"The container was not healthy within {spec.probe.timeout:g} s: {seen.what}"
    whence = "" if spec.port else ", the lowest that the image exposes"
    return (
        f"Port {port} of the container{whence} was not healthy within {spec.probe.timeout:g} s: {seen.what}."
        " The app must listen on 0.0.0.0, and `port` and `health` in .blacktree.yml must fit it"
    )


async def _show_last_lines(attempt: Attempt, container: Container, tools: Tools) -> None:
    attempt.log.line("── the container's last lines")
    attempt.log.write(await tools.engine.last_lines(container.id, _LAST_LINES))
