"""The App's key pair: one that is made once in a process, or a new one."""

import functools

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)


@functools.cache
def key_pair() -> tuple[str, str]:
    """A private and its public RSA key, both PEM; always the same in one process."""
    return new_key_pair()


def new_key_pair() -> tuple[str, str]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@functools.cache
def public_key(pem: str) -> rsa.RSAPublicKey:
    """Parsed once in a process: that costs more than all else of an answer."""
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key
