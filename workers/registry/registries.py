"""Which registry has whose login: what a worker knows of all, and what one attempt may use of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from config.registries import canonical
from config.settings import Settings
from workers.contract.failure import Failure, user
from workers.contract.messages import Credentials, RegistryLogin
from workers.registry import ecr
from workers.registry.ecr import Ecr
from workers.registry.oci import Client
from workers.registry.patience import Patience
from workers.registry.reference import Reference, parse
from workers.registry.transport import CERTIFICATES, Transport


class Registries:
    """One worker's registries, with ECR's tokens."""

    def __init__(
        self,
        settings: Settings,
        patience: Patience = Patience(),  # noqa: B008
        certificates: Path = CERTIFICATES,
    ) -> None:
        self._ecr = Ecr(settings)
        self._transport = Transport(patience, certificates)
        self._at_once = Transport(Patience(tries=1), certificates)

    def of(
        self,
        credentials: Credentials,
        learned: Callable[[str], None] = lambda _: None,
        *,
        stranger: bool = False,
        once: bool = False,
    ) -> AttemptRegistry:
        """What an attempt with these credentials has. A stranger's gets nothing that is the machine's own.

        `learned` is told each password that is fetched for it, before that is used. `once`: nothing is
        tried again, since whoever asks comes again.
        """
        own = None if stranger else self._ecr
        transport = self._at_once if once else self._transport
        return AttemptRegistry(credentials.registries, own, transport, learned)


class AttemptRegistry:
    """The Registry of one attempt: logins of its grant, and ECR's tokens."""

    def __init__(
        self,
        logins: Sequence[RegistryLogin],
        ecr: Ecr | None,
        transport: Transport,
        learned: Callable[[str], None],
    ) -> None:
        self._logins = {canonical(login.host): login for login in logins}
        self._ecr = ecr
        self._learned = learned
        self._client = Client(self._login, transport)

    async def logins(self, names: Sequence[str]) -> list[RegistryLogin]:
        found = [await self._login(host) for host in dict.fromkeys(_parsed(name).host for name in names)]
        return [login for login in found if login is not None]

    async def digest(self, reference: str) -> str | None:
        return await self._client.digest(_parsed(reference))

    async def tag(self, name: str, digest: str, tags: Sequence[str]) -> None:
        await self._client.tag(_parsed(name), digest, tags)

    async def prepare(self, name: str) -> None:
        image = _parsed(name)
        if self._ecr is not None and (where := ecr.account_of(image.host)):
            await self._ecr.prepare(where, image.path)

    async def check(self, host: str) -> str:
        """Prove the login at `host`, and tell whose it is. Raises Failure."""
        login = await self._login(canonical(host))
        await self._client.check(canonical(host))
        return login.username if login else "anybody"

    async def _login(self, host: str) -> RegistryLogin | None:
        if login := self._logins.get(host):
            return login
        if self._ecr is not None and (where := ecr.account_of(host)):
            login = await self._ecr.login(where)
            self._learned(login.password)
            return login
        return None


def _parsed(reference: str) -> Reference:
    try:
        return parse(reference)
    except ValueError as error:
        raise _no_name(str(error)) from None


def _no_name(said: str) -> Failure:
    return user("bad_reference", f"{said}: see image and registry in .blacktree.yml")
