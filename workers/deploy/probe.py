"""Health, asked from outside a container: HTTP, or TCP for what does not speak it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import httpx2

from config.trust import trusted
from workers.contract.messages import Probe

_ANSWER = 5.0  # seconds for one HTTP answer
# A port that Docker's proxy publishes takes every connection, and drops it at once if nothing listens.
_STAYS_OPEN = 1.0  # seconds
_GET, _HTTP = b"GET / HTTP/1.0\r\n\r\n", b"HTTP/"
_SHOWN = 100  # characters of where a redirect leads to
_BAD_REQUEST = 400  # what web servers with TLS answer, too, to those who come without
_CONFIGURED = "`health` in .blacktree.yml"


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    healthy: bool
    what: str  # for people
    todo: str = ""  # likewise, where it is known
    nobody: bool = False  # whether nothing listens
    http: bool = True  # whether what answers speaks it


async def look(client: httpx2.AsyncClient, address: str, probe: Probe) -> Seen:
    """Ask `address` (IP:PORT) once. What speaks no HTTP will do, unless it was said what it answers."""
    if probe.kind == "tcp":
        return await _connect(address)
    path, any_protocol = probe.path, probe.path == "/" and probe.status is None
    try:
        # Each read has its limit; who says a little now and then has this one.
        async with asyncio.timeout(2 * _ANSWER):
            async with client.stream("GET", f"http://{address}{path}") as response:
                code, location = response.status_code, response.headers.get("location", "")
        if code == _BAD_REQUEST and await _speaks_tls(address):
            return _with_tls(path)
        return Seen(fits(code, probe), f"GET {path} answered {code}", _what_to_change(code, location, probe))
    except httpx2.InvalidURL:
        return Seen(False, f"GET {path} cannot be asked", f"{_CONFIGURED}: give it a path as a URL has it")
    except httpx2.RemoteProtocolError:
        if await _speaks_tls(address):
            return _with_tls(path)
        if not any_protocol:
            return Seen(False, f"GET {path} was not answered in HTTP", f"{_CONFIGURED}: write `kind: tcp`")
        return _other_protocol(await _connect(address))
    except (httpx2.TimeoutException, TimeoutError):
        # Words that are no HTTP wait for more in their own protocol; silence is a web server that hangs.
        hangs = Seen(False, f"GET {path} had no answer within {_ANSWER:g} s", _SLOW)
        spoke = await _connect(address, to_speak=True) if any_protocol else hangs
        return _other_protocol(spoke) if spoke.healthy else hangs
    except httpx2.HTTPError as error:
        return Seen(False, f"nothing listens there ({error or type(error).__name__})", nobody=True)


_SLOW = f"Let it answer sooner, or name a path that does ({_CONFIGURED})"


def fits(code: int, probe: Probe) -> bool:
    """Whether an answer with this status counts as healthy."""
    return code < 500 if probe.status is None else code == probe.status


def _what_to_change(code: int, location: str, probe: Probe) -> str:
    if fits(code, probe):
        return ""
    if location and probe.status:
        return (
            f"It leads to {location[:_SHOWN]}: name a path that answers {probe.status} by itself, without a"
            f" login, or leave `status` out ({_CONFIGURED})"
        )
    if code >= 500 or probe.status is None:
        return f"Its log says why; or name a path that answers without the rest of it ({_CONFIGURED})"
    return f"Write `status: {code}`, or name a path that answers {probe.status} ({_CONFIGURED})"


def _other_protocol(seen: Seen) -> Seen:
    return Seen(True, f"{seen.what}; it does not speak HTTP", http=False) if seen.healthy else seen


def _with_tls(path: str) -> Seen:
    return Seen(
        False,
        f"GET {path} was not answered in HTTP: it speaks TLS",
        "Let it speak plain HTTP, for the proxy before it has the certificates; or, where visitors reach it"
        f" by a port of the host, write `kind: tcp` ({_CONFIGURED})",
    )


def asker() -> httpx2.AsyncClient:
    """A client that talks to the address itself, whatever proxy the environment names."""
    return httpx2.AsyncClient(verify=trusted(), timeout=_ANSWER, trust_env=False, follow_redirects=False)


async def _speaks_tls(address: str) -> bool:
    """Whether a handshake succeeds; whose certificate it is does not matter."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_STAYS_OPEN):
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=anybody)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _connect(address: str, *, to_speak: bool = False) -> Seen:
    """Whether a connection stays open; `to_speak`: and words come that are no HTTP, asked for or not."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError) as error:
        return Seen(False, f"nothing listens there ({error})", nobody=True)
    try:
        writer.write(_GET if to_speak else b"")
        async with asyncio.timeout(_STAYS_OPEN):
            said = await reader.read(len(_HTTP))
        if not said:
            return Seen(False, "nothing listens there (the connection was dropped)", nobody=True)
        if to_speak and said.startswith(_HTTP):
            return Seen(False, "it speaks HTTP")
    except TimeoutError:
        if to_speak:
            return Seen(False, "it says nothing")
    except OSError as error:
        return Seen(False, f"nothing listens there ({error})", nobody=True)
    finally:
        writer.transport.abort()
    return Seen(True, "a TCP connection stays open")
