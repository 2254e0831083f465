"""A webhook's request: signed as GitHub signs its own, https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

import httpx2

from bot.secrets.webhooks import Opened
from config.networks import Reachable
from config.reaching import may_reach
from config.trust import trusted
from workers.contract.messages import now

TIMEOUT = 10.0  # seconds, for all of a request


class NotTaken(Exception):
    """It was not taken; why, for people, without the address. `status` is what was answered, if anything."""

    def __init__(self, why: str, status: int | None = None) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Letter:
    """What a webhook is told. `number` counts what is owed here, in the order in which it happened."""

    guid: str
    number: int
    event: str
    body: str


def headers(letter: Letter, secret: str, at: float) -> dict[str, str]:
    """Pure: those of the request."""
    return {
        "content-type": "application/json",
        "user-agent": f"Blacktree/{version('blacktree')}",
        "x-blacktree-event": letter.event,
        "x-blacktree-delivery": letter.guid,
        "x-blacktree-number": str(letter.number),
        "x-blacktree-timestamp": str(int(at)),
        "x-hub-signature-256": f"sha256={signature(secret, letter.body)}",
    }


def signature(secret: str, body: str) -> str:
    """Pure: HMAC-SHA256 of a body."""
    return hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()


class Post:
    """Brings letters, each by a connection of its own, and follows no redirects."""

    def __init__(
        self, ours: httpx2.AsyncClient, theirs: httpx2.AsyncClient, reach: Sequence[Reachable]
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._reach = reach

    @classmethod
    @asynccontextmanager
    async def opened(cls, reach: Sequence[Reachable]) -> AsyncIterator[Post]:
        """`reach` is what the webhooks of repositories reach besides the internet."""
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with (
            httpx2.AsyncClient(verify=trusted(), timeout=TIMEOUT, limits=limits) as ours,
            # A proxy would look up names by itself: whom it leads to, nobody here would see.
            httpx2.AsyncClient(verify=trusted(), timeout=TIMEOUT, limits=limits, trust_env=False) as theirs,
        ):
            yield cls(ours, theirs, reach)

    async def bring(self, letter: Letter, to: Opened, *, guarded: bool) -> int:
        """The status that it was answered with; `guarded`: a repository's. Raises NotTaken."""
        given = headers(letter, to.secret, now().timestamp())
        try:
            async with asyncio.timeout(TIMEOUT):
                url, more = httpx2.URL(to.url), {}
                client = self._theirs if guarded else self._ours
                if guarded:
                    given["host"] = url.netloc.decode("ascii")
                    more = {"sni_hostname": url.raw_host.decode("ascii")}
                    url = url.copy_with(host=await self._address(url))
                content = letter.body.encode()
                request = client.build_request("POST", url, headers=given, content=content, extensions=more)
                answer = await client.send(request, stream=True)
                with suppress(httpx2.HTTPError):
                    await answer.aclose()
        except TimeoutError:
            raise NotTaken(f"no answer within {TIMEOUT:.0f} seconds") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError, OSError, UnicodeError) as error:
            raise NotTaken(f"no answer: {type(error).__name__}") from None
        if not answer.is_success:
            raise NotTaken(f"answered {answer.status_code}", answer.status_code)
        return answer.status_code

    async def _address(self, url: httpx2.URL) -> str:
        """The address that its host has, to be connected to and no other. Raises NotTaken, OSError."""
        host, port = url.host, url.port or (443 if url.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(host, port, proto=6)
        addresses = [str(one[4][0]) for one in found]
        if not addresses or not all(may_reach(one, port, self._reach) for one in addresses):
            raise NotTaken(
                "its address is private, and repositories reach the internet only: NOTIFY_REACHABLE"
            )
        return addresses[0]
