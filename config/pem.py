"""The App's private key in the forms that people have it in: as GitHub gave it, on one line, in base64."""

from __future__ import annotations

import base64
import binascii
import functools
import re
import textwrap

_ARMOUR = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.+?)-----END \1-----", re.DOTALL)
_KINDS = ("RSA PRIVATE KEY", "PRIVATE KEY")
_PATH = re.compile(r"[~./]?[\w./ -]{1,255}")
_WIDTH = 64


def private_key(text: str) -> str:
    """The key as PEM. Raises ValueError, which quotes nothing of it."""
    plain = text.strip().strip("\"'").replace("\\r", "").replace("\\n", "\n")
    found = _ARMOUR.search(plain) or _ARMOUR.search(_decoded(plain))
    if found is None:
        if "-----BEGIN" not in plain and ("/" in plain or plain.endswith(".pem")) and _PATH.fullmatch(plain):
            raise ValueError("is a path, not the key: name the file in GITHUB_APP_PRIVATE_KEY_FILE")
        raise ValueError(
            "must be the whole PEM that GitHub gave, from -----BEGIN RSA PRIVATE KEY----- to -----END …"
        )
    kind, body = found[1], "".join(found[2].split())
    if kind not in _KINDS or ":" in body:
        raise ValueError(f"must be the App's own private key without a passphrase, not a {kind}")
    pem = "\n".join([f"-----BEGIN {kind}-----", *textwrap.wrap(body, _WIDTH), f"-----END {kind}-----", ""])
    if not _is_rsa(pem):
        raise ValueError("is damaged, or no RSA key: make a new one in the App's settings at GitHub")
    return pem


def _decoded(text: str) -> str:
    """What base64 of a whole file holds, empty if it is none."""
    try:
        return base64.b64decode("".join(text.split()), validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return ""


@functools.cache  # it costs 20 ms, and settings are read again and again
def _is_rsa(pem: str) -> bool:
    try:  # a machine that only works has no such library, and no use for the key
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        return True
    try:
        return isinstance(load_pem_private_key(pem.encode(), None), RSAPrivateKey)
    except (ValueError, TypeError):
        return False
