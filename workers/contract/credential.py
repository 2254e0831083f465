"""What a worker is known by: `blacktree workers add` makes it, the worker alone keeps it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from nacl.bindings import crypto_kx_keypair, crypto_scalarmult_base
from nacl.encoding import URLSafeBase64Encoder
from nacl.hash import blake2b

from config.errors import ConfigError
from config.settings import Settings

_MARK = "blacktree-worker"
_KEY = 32  # bytes


@dataclass(frozen=True)
class KeyPair:
    """Of one end: X25519, for libsodium's key exchange."""

    private: bytes = field(repr=False)

    @classmethod
    def made(cls) -> KeyPair:
        _, private = crypto_kx_keypair()
        return cls(private)

    @property
    def public(self) -> bytes:
        return crypto_scalarmult_base(self.private)


@dataclass(frozen=True)
class Credential:
    """A worker's name, its pool and its key, and the key by which it knows its bot."""

    name: str
    pool: str
    keys: KeyPair
    bot: bytes

    @classmethod
    def parse(cls, text: str) -> Credential:
        """Raises ValueError if `text` is none, or not all of one."""
        try:
            mark, name, pool, encoded = text.strip().split(":")
            keys = base64.b64decode(encoded, altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise ValueError("it is no worker's credential, or not a whole one") from None
        if mark != _MARK or len(keys) != 2 * _KEY:
            raise ValueError("it is no worker's credential, or not a whole one")
        return cls(name, pool, KeyPair(keys[:_KEY]), keys[_KEY:])

    @property
    def text(self) -> str:
        """One line, which is a secret."""
        keys = base64.urlsafe_b64encode(self.keys.private + self.bot).decode()
        return f"{_MARK}:{self.name}:{self.pool}:{keys}"

    @property
    def broker_password(self) -> str:
        """Of its own login at the broker, where it has one."""
        digest = blake2b(b"broker", key=self.keys.private, person=b"blacktree", encoder=URLSafeBase64Encoder)
        return digest.decode().rstrip("=")


def of(settings: Settings) -> tuple[Settings, Credential]:
    """A worker's credential, and the settings with its name and pool. Raises ConfigError."""
    if settings.worker_credential is None:
        raise ConfigError(
            "BLACKTREE_WORKER_CREDENTIAL is missing: a worker over RabbitMQ is known by its own. Run "
            "`blacktree workers add NAME --pool POOL` where the bot runs, and set what it prints here"
        )
    try:
        credential = Credential.parse(settings.worker_credential.get_secret_value())
    except ValueError as error:
        raise ConfigError(
            f"BLACKTREE_WORKER_CREDENTIAL: {error}: it is the one line that `blacktree workers add` printed"
        ) from None
    known = {"worker_name": credential.name, "worker_pool": credential.pool}
    for setting, value in known.items():
        given = getattr(settings, setting)
        if setting in settings.model_fields_set and given not in ("", value):
            raise ConfigError(
                f"BLACKTREE_{setting.upper()} is {given}, but this worker's credential says {value}: "
                "remove that setting, or make a credential for it with `blacktree workers add`"
            )
    return settings.model_copy(update=known), credential
