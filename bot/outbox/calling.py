"""A channel's message, brought by a process of its own: see `courier`."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from dataclasses import dataclass, field

from bot.outbox import courier
from bot.outbox.posting import NotTaken

_MOST = 2  # such processes at once, of repositories and of the instance each
# What a process needs of its surroundings; the bot's own settings, which have secrets, are not among it.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Message:
    """What a channel is told, at an apprise address: https://appriseit.com/services/."""

    address: str = field(repr=False)
    title: str
    body: str


class Calls:
    """Brings messages. `reachable` is NOTIFY_REACHABLE, for channels of repositories."""

    def __init__(self, reachable: str) -> None:
        self._reachable = reachable
        self._few = {guarded: asyncio.Semaphore(_MOST) for guarded in (True, False)}

    async def bring(self, message: Message, *, guarded: bool) -> None:
        """`guarded`: a repository's. Raises NotTaken."""
        given = {**vars(message), "guarded": guarded, "reachable": self._reachable}
        async with self._few[guarded]:
            code = await _ran(
                json.dumps(given).encode(), _ENVIRONMENT if guarded else _ENVIRONMENT + _PROXIES
            )
        if code == courier.NO_ADDRESS:
            raise NotTaken("its address is none that apprise knows")
        if code != courier.TAKEN:
            private = ", or its address is private (NOTIFY_REACHABLE)" if guarded else ""
            raise NotTaken(
                f"it was not taken: the address or its token is wrong, the service is away{private}"
            )


async def is_known(address: str) -> bool:
    """Whether apprise knows such an address of the instance's; nobody is told anything. Raises NotTaken."""
    given = {**vars(Message(address, "", "")), "guarded": False, "only": "known"}
    return await _ran(json.dumps(given).encode(), _ENVIRONMENT) == courier.TAKEN


async def _ran(given: bytes, names: tuple[str, ...]) -> int:
    """The exit code of a courier. Raises NotTaken for one that takes too long."""
    environment = {name: os.environ[name] for name in names if name in os.environ}
    command = (sys.executable, "-BP", "-m", courier.__name__)
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, env=environment, start_new_session=True
    )
    try:
        async with asyncio.timeout(courier.LONGEST):
            await child.communicate(given)
    except TimeoutError:
        raise NotTaken(f"it was not taken within {courier.LONGEST} seconds") from None
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return child.returncode if child.returncode is not None else courier.NOT_TAKEN
