"""When a service counts as healthy: as its health check says, else once it listens, else once it stays up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from workers.attempt import Attempt
from workers.contract.failure import user
from workers.contract.services import ServiceSpec
from workers.engine.engine import Container, Image
from workers.engine.listening import Listener
from workers.tools import Tools

_LOOK = 0.3  # seconds between two looks
_STAYS = 3.0  # seconds, of one of which nothing else is known
_LAST_LINES = 30
_LAST_WORDS = 0.02  # seconds that what it has said until then gets to arrive


async def healthy(
    attempt: Attempt,
    one: ServiceSpec,
    container: Container,
    image: Image | None,
    tools: Tools,
    *,
    new: bool,
) -> None:
    """Wait until it is; what a `new` one prints meanwhile is in the log. Raises Failure."""

    def said(text: str) -> None:
        attempt.log.write("".join(f"{one.name}: {line}" for line in text.splitlines(True)))

    seen = "it has not started"
    try:
        following = tools.engine.following(container.id, said, _LAST_WORDS)
        async with following if new else contextlib.nullcontext():
            async with asyncio.timeout(one.timeout) as clock:
                begun = asyncio.get_running_loop().time()
                while seen:
                    now = await _alive(one, container, tools)
                    stood = asyncio.get_running_loop().time() - begun
                    seen = await _wrong(now, image, stood, tools)
                    await asyncio.sleep(_LOOK if seen else 0)
    except TimeoutError:
        if not clock.expired():
            raise
        await _show_last_lines(attempt, container, tools)
        raise user(
            "service_unhealthy",
            f"Service {one.name} was not healthy within {one.timeout:g} s: {seen}. Its last lines in the log"
            " may say why; `healthcheck` says how it is asked, and for how long",
        ) from None
    except _Ended as ended:
        await _show_last_lines(attempt, container, tools)
        raise user("service_crashed", f"Service {one.name} {ended}") from None
    attempt.log.line(f"{one.name}: healthy")


class _Ended(Exception):
    """Why it does not run, for people."""


async def _alive(one: ServiceSpec, container: Container, tools: Tools) -> Container:
    found = await tools.engine.container(container.id)
    if found is None:
        raise _Ended("was removed by somebody else while it started")
    if found.out_of_memory and not found.running:
        raise _Ended(f"ran out of memory while it started: raise services.{one.name}.limits.memory")
    if found.exit_code in (126, 127) and not found.running:
        raise _Ended(f"has a command that cannot be run (exit code {found.exit_code}): check `command`")
    if not found.running or found.restarts > container.restarts:
        raise _Ended(f"ended with exit code {found.exit_code}: its last lines in the log say why")
    return found


async def _wrong(container: Container, image: Image | None, stood: float, tools: Tools) -> str:
    """What it still lacks, for people; empty if nothing."""
    if container.health:
        said = f" ({container.health_said[-200:]})" if container.health_said else ""
        return "" if container.health == "healthy" else f"its health check says {container.health}{said}"
    found = await tools.engine.listening(container.id)
    ports = image.ports if image else ()
    if found is None or not ports:
        return "" if stood >= _STAYS else "it has only just started"
    return "" if holds(ports, found) else f"it does not listen on {' or '.join(map(str, ports))}"


def holds(ports: Iterable[int], found: Iterable[Listener]) -> bool:
    """Pure: whether its neighbours reach one of the ports that its image exposes."""
    return any(one.port in ports and not one.is_inside for one in found)


async def _show_last_lines(attempt: Attempt, container: Container, tools: Tools) -> None:
    attempt.log.line("── the service's last lines")
    attempt.log.write(await tools.engine.last_lines(container.id, _LAST_LINES))
