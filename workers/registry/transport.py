"""Requests to registries: TLS that is trusted, answers that are bounded, another try where it may help."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx2

from workers.contract.failure import Failure, final, ours
from workers.registry.patience import Patience, retry_after
from workers.registry.reference import is_plain

CERTIFICATES = Path("/etc/docker/certs.d")  # https://docs.docker.com/engine/security/certificates/
_TIMEOUT = httpx2.Timeout(20.0, connect=10.0)  # seconds
_LARGEST = 4 * 2**20  # bytes: what the specification wants registries to take of a manifest
_REDIRECTS = 4
_LONGEST = 160  # characters of a quotation

_NOT_ANSWERED = (httpx2.TransportError, httpx2.DecodingError, UnicodeError)  # the last by names that are none
_PORTS = 65_535

_Stamp = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Request:
    """What is asked, as often as it takes."""

    method: str
    url: httpx2.URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    content: bytes | None = None
    form: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """What was answered, read to its end."""

    status: int
    headers: httpx2.Headers
    body: bytes
    own: bool  # whether it is of the host that was asked, not of one that it led to

    @property
    def again(self) -> bool:
        """Whether the same may succeed in a while."""
        return self.status in (408, 429) or self.status >= 500

    @property
    def reason(self) -> str:
        """What it says of its error, after a blank; nothing if it says nothing."""
        try:
            error = json.loads(self.body)["errors"][0]
            said = error.get("message") or error.get("code")
        except (ValueError, LookupError, TypeError, AttributeError):
            return ""
        return f" {_cut(str(said))}" if said else ""


class Transport:
    """How registries are reached from this machine; it knows no secrets, so all attempts may share it."""

    def __init__(self, patience: Patience, certificates: Path) -> None:
        self._patience = patience
        self._certificates = certificates
        self._trusted: dict[str, tuple[_Stamp, ssl.SSLContext]] = {}

    def base(self, host: str) -> httpx2.URL:
        """https, but http for a host of this machine that has no certificate here."""
        return httpx2.URL(f"{'http' if self._plain(host) else 'https'}://{host}")

    @contextlib.asynccontextmanager
    async def connected(self, host: str) -> AsyncIterator[httpx2.AsyncClient]:
        """Connections that are kept inside. Raises Failure."""
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust = nobody if self._plain(host) else await asyncio.to_thread(self._trust, host)
        async with httpx2.AsyncClient(verify=trust, timeout=_TIMEOUT) as http:
            yield http

    def _trust(self, host: str) -> ssl.SSLContext:
        """Read anew only when Docker's certificates for the host are others: it takes a tenth of a second."""
        files = sorted((self._certificates / host).glob("*.crt"))
        stamp = tuple((str(file), file.stat().st_mtime_ns) for file in files)
        known, context = self._trusted.get(host, (None, None))
        if context is None or known != stamp:
            context = _context(files)
            self._trusted[host] = (stamp, context)
        return context

    def _plain(self, host: str) -> bool:
        return is_plain(host) and not (self._certificates / host).is_dir()

    async def ask(self, http: httpx2.AsyncClient, request: Request) -> Answer:
        """The answer, asked for again while that may help. Raises Failure."""
        host = request.url.netloc.decode()
        tried = 0
        while True:
            tried += 1
            told = None
            try:
                answer = await _sent(http, request)
                if not answer.again:
                    return answer
                said = f"{answer.status}{answer.reason}"
                told = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
            except _NOT_ANSWERED as error:
                if _untrusted(error):
                    raise final("registry_untrusted", _whom_to_trust(host)) from None
                if _speaks_plainly(error):
                    raise final("registry_untrusted", _without_tls(host)) from None
                said = str(error) or type(error).__name__
            pause = self._patience.pause(tried, told)
            if pause is None:
                raise _unreachable(host, tried, said)
            await asyncio.sleep(pause)


async def _sent(http: httpx2.AsyncClient, request: Request) -> Answer:
    """One request. A reader is led on, but another host never hears who it is."""
    url, headers = request.url, dict(request.headers)
    for _ in range(_REDIRECTS):
        if (url.port or 0) > _PORTS:
            raise httpx2.RemoteProtocolError(f"there is no port {url.port}")
        sending = http.stream(
            request.method, url, headers=headers, content=request.content, data=request.form
        )
        async with sending as answer:
            target = _target(url, answer.headers.get("location", ""))
            if not (answer.is_redirect and request.method in ("GET", "HEAD") and _as_safe(url, target)):
                own = _origin(url) == _origin(request.url)
                return Answer(answer.status_code, answer.headers, await _body(answer), own)
        if _origin(target) != _origin(request.url):
            headers.pop("Authorization", None)
        url = target
    raise httpx2.RemoteProtocolError(f"more than {_REDIRECTS} redirects")


def _target(url: httpx2.URL, location: str) -> httpx2.URL:
    try:
        return url.join(location)
    except httpx2.InvalidURL:
        raise httpx2.RemoteProtocolError("a redirect to something that is no URL") from None


def _origin(url: httpx2.URL) -> tuple[str, bytes]:
    return url.scheme, url.netloc


def _as_safe(url: httpx2.URL, target: httpx2.URL) -> bool:
    return target.scheme == "https" or target.scheme == url.scheme == "http"


async def _body(answer: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > _LARGEST:
            raise httpx2.RemoteProtocolError(f"an answer of more than {_LARGEST} bytes")
    return bytes(body)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _unreachable(host: str, tried: int, said: str) -> Failure:
    times = f", asked {tried} times" if tried > 1 else ""
    return ours("registry_unreachable", f"{host} did not do what it was asked{times}: {_cut(said)}")


def _context(files: Sequence[Path]) -> ssl.SSLContext:
    """The machine's certificates (SSL_CERT_FILE names others), and those in `files`."""
    context = httpx2.create_ssl_context()
    for file in files:
        try:
            context.load_verify_locations(file)
        except (OSError, ssl.SSLError) as error:
            raise final("registry_untrusted", f"{file} cannot be read as a certificate: {error}") from None
    return context


def _untrusted(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _speaks_plainly(error: BaseException | None) -> bool:
    """Whether the other side answers a TLS greeting in something else."""
    while error is not None:
        if isinstance(error, ssl.SSLError) and error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without_tls(host: str) -> str:
    return (
        f"{host} speaks plain HTTP, and only a registry on this very machine may: logins would be readable on"
        " the way. Give it a certificate, or put a proxy with TLS before it"
    )


def _whom_to_trust(host: str) -> str:
    return (
        f"The certificate of {host} is by nobody whom this machine trusts: put its CA's into"
        f" {CERTIFICATES / host / 'ca.crt'}, for Docker and for Blacktree"
    )
