"""The users of basic auth: passwords from the repository's secrets, hashed for the proxy."""

from __future__ import annotations

import asyncio
import base64

import bcrypt

from bot.decisions import plan
from bot.routing.places import Place
from bot.secrets.repositories import Secrets

# The proxy remembers what it has compared, but a wrong password costs it this much each time.
_COST = b"$2b$10$"
_SALT = 16  # bytes
_MOST = 72  # bytes: bcrypt looks at no more of a password, neither here nor in Caddy
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_BCRYPT = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


class Users:
    """Hashes the same password to the same hash, in every bot that has the secret key.

    A salt that changed would change the proxy's configuration at each start of a bot.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._hashes: dict[tuple[str, str, str], str] = {}

    async def of(self, place: Place) -> tuple[tuple[str, str], ...]:
        """Each user and hash. One whose secret is missing has a password that nobody knows.

        Raises ConfigError where no key opens a secret.
        """
        passwords = await self._passwords(place)
        return tuple([(user, await self._hash(place.route, user, passwords[user])) for user in passwords])

    async def missing(self, place: Place) -> list[str]:
        """The users whose secret is not set, each with its name. Raises ConfigError."""
        wanted, held = place.setting("auth") or {}, await self._held(place)
        return [f"{user} ({name})" for user, name in sorted(wanted.items()) if not held.get(name)]

    async def _passwords(self, place: Place) -> dict[str, str]:
        wanted, held = place.setting("auth") or {}, await self._held(place)
        unknown = (await self._secrets.keyed(f"nobody:{place.route}")).hex() if wanted else ""
        return {user: held.get(name) or unknown for user, name in sorted(wanted.items())}

    async def _held(self, place: Place) -> dict[str, str]:
        names = list((place.setting("auth") or {}).values())
        preview = plan.is_preview(place.environment.name)
        return await self._secrets.of(place.repository.id, names, place.environment.name, preview=preview)

    async def _hash(self, route: str, user: str, password: str) -> str:
        known = (route, user, password)
        if known not in self._hashes:
            salt = await self._secrets.keyed("\0".join(("auth", *known)))
            self._hashes[known] = await asyncio.to_thread(_hashed, password, salt[:_SALT])
        return self._hashes[known]


def _hashed(password: str, salt: bytes) -> str:
    spelled = base64.b64encode(salt).rstrip(b"=").translate(bytes.maketrans(_BASE64, _BCRYPT))
    return bcrypt.hashpw(password.encode()[:_MOST], _COST + spelled).decode()
