"""Health, asked from outside a container: HTTP, or TCP for what does not speak it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import httpx2

from workers.contract.messages import Probe

_ANSWER = 5.0  # seconds for one HTTP answer
# A port that Docker's proxy publishes takes every connection, and drops it at once if nothing listens.
_STAYS_OPEN = 1.0  # seconds


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    healthy: bool
    what: str  # for people


async def look(client: httpx2.AsyncClient, address: str, probe: Probe) -> Seen:
    """Ask `address` (IP:PORT) once. What speaks no HTTP will do, unless it was said what it answers."""
    if probe.kind == "tcp":
        return await _connect(address)
    path, any_protocol = probe.path, probe.path == "/" and probe.status is None
    try:
        async with client.stream("GET", f"http://{address}{path}") as response:
            code = response.status_code
        return Seen(fits(code, probe), f"GET {path} answered {code}")
    except httpx2.RemoteProtocolError:
        if not any_protocol:
            return Seen(False, f"GET {path} was not answered in HTTP")
        seen = await _connect(address)
        return Seen(seen.healthy, f"{seen.what}; it does not speak HTTP") if seen.healthy else seen
    except httpx2.TimeoutException:
        # What greets by itself waits for an answer in its own protocol; silence is a web server that hangs.
        hangs = Seen(False, f"GET {path} had no answer within {_ANSWER:g} s")
        greeted = await _connect(address, greeting=True) if any_protocol else hangs
        return greeted if greeted.healthy else hangs
    except httpx2.HTTPError as error:
        return Seen(False, f"nothing listens there ({error or type(error).__name__})")


def fits(code: int, probe: Probe) -> bool:
    """Whether an answer with this status counts as healthy."""
    return code < 500 if probe.status is None else code == probe.status


def asker() -> httpx2.AsyncClient:
    """A client that talks to the address itself, whatever proxy the environment names."""
    return httpx2.AsyncClient(timeout=_ANSWER, trust_env=False, follow_redirects=False)


async def _connect(address: str, *, greeting: bool = False) -> Seen:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        return Seen(False, f"nothing listens there ({error})")
    try:
        async with asyncio.timeout(_STAYS_OPEN):
            if not await reader.read(1):
                return Seen(False, "nothing listens there (the connection was dropped)")
    except TimeoutError:
        if greeting:
            return Seen(False, "it says nothing")
    except OSError as error:
        return Seen(False, f"nothing listens there ({error})")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return Seen(True, "a TCP connection stays open")
