"""What the bot and one worker say to each other, as it crosses the broker: nobody else reads or forges it.

From the two ends' key pairs libsodium's key exchange makes a key for each direction, and with that each
letter is sealed (XChaCha20-Poly1305) together with what it is: so a request passes for no event, and an
answer for none to another request. https://doc.libsodium.org/key_exchange
"""

from __future__ import annotations

from nacl.bindings import crypto_kx_client_session_keys, crypto_kx_server_session_keys
from nacl.exceptions import CryptoError
from nacl.secret import Aead
from pydantic import BaseModel

from workers.contract.credential import Credential, KeyPair

REQUEST, EVENT, ORDER, SHELL = b"request", b"event", b"order", b"shell"
# The answer to whom the bot has no key for: by itself it proves nothing.
UNKNOWN = b"unknown"
_LONGEST_NAME = 64


class Forged(Exception):
    """It was not sealed by the other end, or not for this."""


class Letters:
    """One end's letters to the other."""

    def __init__(self, hears: bytes, says: bytes) -> None:
        self._hears, self._says = Aead(hears), Aead(says)

    @classmethod
    def of_worker(cls, credential: Credential) -> Letters:
        keys = credential.keys
        return cls(*crypto_kx_client_session_keys(keys.public, keys.private, credential.bot))

    @classmethod
    def of_bot(cls, keys: KeyPair, worker: bytes) -> Letters:
        """To the worker with this public key."""
        return cls(*crypto_kx_server_session_keys(keys.public, keys.private, worker))

    def seal(self, what: bytes, message: BaseModel) -> bytes:
        return bytes(self._says.encrypt(message.model_dump_json().encode(), what))

    def open(self, what: bytes, sealed: bytes) -> bytes:
        """The JSON of a message. Raises Forged."""
        try:
            return self._hears.decrypt(sealed, what)
        except (CryptoError, ValueError):
            raise Forged from None


def answer_to(number: int) -> bytes:
    """What the answer to the request of this number is sealed as."""
    return b"answer %d" % number


def signed(name: str, sealed: bytes) -> bytes:
    """A worker's letter as it travels: who says that it is from, and the letter."""
    return name.encode() + b"\n" + sealed


def parted(body: bytes) -> tuple[str, bytes]:
    """The sender's name and the letter. Raises Forged."""
    name, newline, sealed = body.partition(b"\n")
    if not newline or len(name) > _LONGEST_NAME or not name.isascii():
        raise Forged
    return name.decode(), sealed
