"""The registries of one attempt: what they have, and what is moved in them without a pull or a push."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from workers.contract.messages import RegistryLogin


class Registry(Protocol):
    """Knows an image by NAME:TAG or NAME@DIGEST, as a docker CLI does. Each method raises Failure.

    What may help when it is tried again (429, 5xx, a network that fails) was tried again already.
    """

    async def logins(self, names: Sequence[str]) -> list[RegistryLogin]:
        """Logins for the hosts of `names`, fresh enough for an hour's work; nothing for hosts without one."""

    async def digest(self, reference: str) -> str | None:
        """By which digest the registry knows it, asked without a pull; None if it does not."""

    async def tag(self, name: str, digest: str, tags: Sequence[str]) -> None:
        """Let NAME:TAG be that manifest for each of `tags`, by a copy of the manifest."""

    async def prepare(self, name: str) -> None:
        """Make the repository of that name where its registry wants that done first (ECR)."""
