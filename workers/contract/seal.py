"""Credentials for one attempt, readable only by the worker that asked (libsodium's sealed boxes)."""

from __future__ import annotations

from nacl.public import PrivateKey, PublicKey, SealedBox

from workers.contract.messages import Credentials


class Keys:
    """A worker's key pair: made at its start, kept in memory, gone with it."""

    def __init__(self) -> None:
        self._private = PrivateKey.generate()

    @property
    def public(self) -> str:
        return bytes(self._private.public_key).hex()

    def open(self, sealed: str) -> Credentials:
        """The credentials in `sealed`. Raises nacl.exceptions.CryptoError if it is for somebody else."""
        return Credentials.model_validate_json(SealedBox(self._private).decrypt(bytes.fromhex(sealed)))


def seal(credentials: Credentials, public_key: str) -> str:
    """`credentials`, sealed to `public_key` (hex). Raises ValueError if that is no key."""
    box = SealedBox(PublicKey(bytes.fromhex(public_key)))
    return box.encrypt(credentials.model_dump_json().encode()).hex()
