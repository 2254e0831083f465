"""The instance's own secrets, encrypted in the store.

Each value is sealed by XChaCha20-Poly1305 together with its name, so that a value that was put under
another name does not open. The key is derived from SECRET_KEY, salted with the instance's id.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from nacl import pwhash
from nacl.encoding import RawEncoder
from nacl.exceptions import CryptoError
from nacl.hash import blake2b
from nacl.secret import Aead
from sqlalchemy.exc import IntegrityError
from sqlmodel import col, select

from bot.secrets import key_file
from bot.store.database import Store
from bot.store.tables import Sealed
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import now

_VERSION = "v1:"
_KEY_FILE = "secret.key"


class Vault:
    """Named secrets in the store, of which whoever reads only the store learns nothing but the names."""

    def __init__(self, store: Store, settings: Settings) -> None:
        given = settings.secret_key.get_secret_value() if settings.secret_key else ""
        self._store = store
        self._phrases = [phrase for part in given.split(",") if (phrase := part.strip())]
        self._file = settings.data_dir / _KEY_FILE
        self._boxes: dict[str, Aead] = {}

    async def put(self, values: Mapping[str, str]) -> None:
        """Seal these values in one transaction, over those of the same names. Raises ConfigError."""
        box = await self._box((await self._keys(make=True))[0])
        async with self._store.transaction() as session:
            for name, value in values.items():
                await session.merge(Sealed(name=name, value=_sealed(box, name, value), created_at=now()))

    async def kept(self, name: str, fresh: str) -> str:
        """The value of this name: `fresh` for good, if there is none yet. Raises ConfigError."""
        while (row := await self._row(name)) is None:
            sealed = await self.sealed(name, fresh)
            with suppress(IntegrityError):  # another process was first; its value is the one
                async with self._store.transaction() as session:
                    session.add(Sealed(name=name, value=sealed, created_at=now()))
        value = await self.opened(name, row.value)
        if not await self.newest(name, row.value):
            await self.put({name: value})
        return value

    async def all(self) -> dict[str, str]:
        """Every value by its name; what an older key sealed is sealed again with the newest.

        Raises ConfigError where no key opens one.
        """
        async with self._store.reading() as session:
            rows = (await session.exec(select(Sealed).order_by(col(Sealed.name)))).all()
        if not rows:
            return {}
        values = {row.name: await self.opened(row.name, row.value) for row in rows}
        old = {row.name: values[row.name] for row in rows if not await self.newest(row.name, row.value)}
        if old:
            await self.put(old)
        return values

    async def sealed(self, name: str, value: str) -> str:
        """`value`, to be opened under the same name only. Raises ConfigError."""
        return _sealed(await self._box((await self._keys(make=True))[0]), name, value)

    async def opened(self, name: str, sealed: str) -> str:
        """The value in `sealed`. Raises ConfigError where no key opens it."""
        for phrase in await self._keys(make=False):
            if (value := _open(await self._box(phrase), name, sealed)) is not None:
                return value
        source = "SECRET_KEY" if self._phrases else str(self._file)
        raise ConfigError(
            f"{source}: does not open {name}, which was sealed with another key: put that key back "
            "(to change it, set BLACKTREE_SECRET_KEY to NEW,OLD), or delete the rows of the tables "
            f"`sealed` and `secrets` and set up again{self._several}"
        )

    async def keyed(self, what: str) -> bytes:
        """32 bytes that follow from `what` and from the key that seals now: a salt that nobody can guess.

        Raises ConfigError.
        """
        box = await self._box((await self._keys(make=True))[0])
        return blake2b(what.encode(), key=bytes(box), encoder=RawEncoder)

    async def newest(self, name: str, sealed: str) -> bool:
        """Whether the key that seals now sealed this."""
        phrase = (await self._keys(make=False))[0]
        return _open(await self._box(phrase), name, sealed) is not None

    async def _row(self, name: str) -> Sealed | None:
        async with self._store.reading() as session:
            return await session.get(Sealed, name)

    async def _keys(self, *, make: bool) -> list[str]:
        """What keys are derived from, the one that seals first. Raises ConfigError."""
        if self._phrases:
            # The file's key goes on opening what it sealed before SECRET_KEY was set.
            return self._phrases + ([_read(self._file)] if self._file.exists() else [])
        if make and not self._file.exists():
            await asyncio.to_thread(key_file.make, self._file)
        try:
            return [_read(self._file)]
        except ConfigError as error:
            raise ConfigError(f"{error}{self._several}") from None

    @property
    def _several(self) -> str:
        """What a second bot lacks, whose key file is another one than the first's."""
        if self._phrases or self._store.sqlite:
            return ""
        return (
            ". Several bots on one PostgreSQL need one key: set the same BLACKTREE_SECRET_KEY for all, where "
            "there is one bot already the text of its DATA_DIR/secret.key"
        )

    async def _box(self, phrase: str) -> Aead:
        if phrase not in self._boxes:
            self._boxes[phrase] = Aead(await asyncio.to_thread(_derived, phrase, self._store.instance))
        return self._boxes[phrase]


def _derived(phrase: str, instance: str) -> bytes:
    """A key from a phrase, so slowly that a weak one can't be guessed from a stolen store in a second."""
    salt = blake2b(instance.encode(), digest_size=pwhash.argon2id.SALTBYTES, encoder=RawEncoder)
    return pwhash.argon2id.kdf(
        Aead.KEY_SIZE,
        phrase.encode(),
        salt,
        opslimit=pwhash.argon2id.OPSLIMIT_INTERACTIVE,
        memlimit=pwhash.argon2id.MEMLIMIT_INTERACTIVE,
    )


def _sealed(box: Aead, name: str, value: str) -> str:
    return _VERSION + base64.b64encode(box.encrypt(value.encode(), name.encode())).decode()


def _open(box: Aead, name: str, sealed: str) -> str | None:
    """The value, None where this key does not open it."""
    try:
        raw = base64.b64decode(sealed.removeprefix(_VERSION), validate=True)
        return box.decrypt(raw, name.encode()).decode()
    except (CryptoError, ValueError, binascii.Error):
        return None


def _read(file: Path) -> str:
    try:
        if phrase := file.read_text().strip():
            return phrase
        raise ConfigError(f"{file}: is empty: put back the key that sealed the store's secrets")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(
            f"{file}: cannot be read ({why}): put back this key, with which the store's secrets are "
            "sealed, or give it as BLACKTREE_SECRET_KEY"
        ) from None
