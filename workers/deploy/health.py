"""New containers are watched from outside until all of them are healthy, or one will not be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import httpx2

from workers.attempt import Attempt
from workers.contract.failure import user
from workers.contract.messages import DeploySpec, Probe
from workers.deploy.parts import Started
from workers.deploy.probe import Seen, asker, look
from workers.engine.engine import Container, EngineDown
from workers.engine.listening import advice
from workers.process.together import together
from workers.tools import Tools

_LAST_LINES = 20
_ASKING = 3.0  # seconds for where a container listens
_MUST_FIT = "The app must listen on 0.0.0.0, and `port` and `health` in .blacktree.yml must fit it"
_NO_HTTP = (
    "── what answers at port {port} does not speak HTTP: browsers at the environment's address get an error\n"
    "── other containers reach it by its name on a network that they share (`networks`); with"
    " `health: {{kind: tcp}}` nobody asks it in HTTP\n"
    "── an environment is no place for a database: each deploy replaces its container, and what is not in a"
    " volume is gone; as one of its `services` it stays\n"
)
_LAST_WORDS = 0.02  # seconds that what it has said until it was healthy gets to arrive


async def checked(attempt: Attempt, started: Sequence[Started], tools: Tools) -> None:
    """Wait until all are healthy; what they print meanwhile is in the log. Raises Failure."""
    async with asker() as client:
        await together(_healthy(attempt, one, _said_by(attempt, one), client, tools) for one in started)
    for one in started:
        await tools.engine.keep(one.container.id, one.part.spec.restart)


def _said_by(attempt: Attempt, one: Started) -> Callable[[str], None]:
    """Where a container's output goes: with several of them each line says whose it is."""
    number = f"#{one.place}" if one.part.spec.replicas > 1 else ""
    whose = f"{one.part.name}{number}" if one.part.several else number
    if not whose:
        return attempt.log.write
    return lambda text: attempt.log.write("".join(f"{whose} {line}" for line in text.splitlines(True)))


async def _healthy(
    attempt: Attempt, one: Started, output: Callable[[str], None], client: httpx2.AsyncClient, tools: Tools
) -> None:
    spec, container, port = one.part.spec, one.container, one.part.port
    seen, begun = Seen(False, "it did not answer"), asyncio.get_running_loop().time()
    try:
        async with tools.engine.following(container.id, output, _LAST_WORDS):
            async with asyncio.timeout(max(spec.probe.timeout, _least(spec.probe))) as clock:
                while not seen.healthy:
                    now = await _alive(container, tools)
                    seen = await _look(client, now, spec.probe, begun)
                    if not seen.healthy:
                        await asyncio.sleep(spec.probe.interval)
            await _alive(container, tools)
    except TimeoutError:
        if not clock.expired():
            raise
        todo = await _advice(container, spec, port, tools) if seen.nobody and port else seen.todo
        await _show_last_lines(attempt, container, tools)
        raise user("unhealthy", _of(one, unhealthy(spec, port, replace(seen, todo=todo)))) from None
    except _Crashed as crash:
        await _show_last_lines(attempt, container, tools)
        raise user("crashed", _of(one, crash.sentence)) from None
    output(f"healthy: {seen.what}\n")
    if not seen.http and one.part.served:
        output(_NO_HTTP.format(port=port))


def _of(one: Started, sentence: str) -> str:
    """What is told of a container, with the process that it is of."""
    return f"{one.part.name}: {sentence}" if one.part.several else sentence


def _least(probe: Probe) -> float:
    """Seconds that becoming healthy takes at least."""
    return probe.lasts + 2 * probe.interval + _ASKING if probe.kind == "up" else 0.0


async def _look(client: httpx2.AsyncClient, container: Container, probe: Probe, begun: float) -> Seen:
    if probe.kind == "up":
        up = asyncio.get_running_loop().time() - begun
        return Seen(up >= probe.lasts, f"it has stayed up for {probe.lasts:g} s")
    if probe.kind in ("image", "command"):
        said = f" ({container.health_said[-200:]})" if container.health_said else ""
        whose = "HEALTHCHECK" if probe.kind == "image" else "`command` of `health`"
        return Seen(container.health == "healthy", f"its {whose} says {container.health}{said}")
    return await look(client, container.address or "", probe)


async def _advice(container: Container, spec: DeploySpec, port: int, tools: Tools) -> str:
    """Where it listens instead, if it can be told soon. On the host's network that is not its own matter."""
    if spec.privileges.host_network:
        return ""
    with contextlib.suppress(TimeoutError, EngineDown):
        async with asyncio.timeout(_ASKING):
            found = await tools.engine.listening(container.id)
            return "" if found is None else advice(port, found)
    return ""


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


def unhealthy(spec: DeploySpec, port: int | None, seen: Seen) -> str:
    """Pure: what a person is told of a release that was not healthy in time."""
    if spec.probe.kind not in ("http", "tcp"):
        return f"The container was not healthy within {spec.probe.timeout:g} s: {seen.what}"
    whence = "" if spec.port else ", the lowest that the image exposes"
    return (
        f"Port {port} of the container{whence} was not healthy within {spec.probe.timeout:g} s: {seen.what}."
        f" {seen.todo or _MUST_FIT}"
    )


async def _show_last_lines(attempt: Attempt, container: Container, tools: Tools) -> None:
    attempt.log.line("── the container's last lines")
    attempt.log.write(await tools.engine.last_lines(container.id, _LAST_LINES))
