"""Health, asked from outside a container: HTTP, or TCP for what does not speak it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

import httpx2

_ANSWER = 5.0  # seconds for one HTTP answer
# A port that Docker's proxy publishes takes every connection, and drops it at once if nothing listens.
_STAYS_OPEN = 1.0  # seconds


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    healthy: bool
    what: str  # for people


async def look(client: httpx2.AsyncClient, address: str, path: str) -> Seen:
    """Ask `address` (IP:PORT) once."""
    try:
        async with client.stream("GET", f"http://{address}{path}") as response:
            code = response.status_code
        return Seen(code < 500, f"GET {path} answered {code}")
    except httpx2.RemoteProtocolError:
        return await _connect(address)
    except httpx2.TimeoutException:
        # What greets by itself waits for an answer in its own protocol; silence is a web server that hangs.
        greeted = await _connect(address, greeting=True)
        return greeted if greeted.healthy else Seen(False, f"GET {path} had no answer within {_ANSWER:g} s")
    except httpx2.HTTPError as error:
        return Seen(False, f"nothing listens there ({error or type(error).__name__})")


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
    return Seen(True, "a TCP connection stays open; it does not speak HTTP")
