"""How the bot knows that the proxy asks: by what follows from a key that only the two have."""

from __future__ import annotations

import hashlib
import hmac


def proof(key: bytes, what: str) -> str:
    """What the proxy says of `what`. An app hears its own route's, and learns nothing about others."""
    return hmac.new(key, what.encode(), hashlib.sha256).hexdigest()


def fits(key: bytes, what: str, given: str) -> bool:
    """Whether `given` is the proof of `what`."""
    return hmac.compare_digest(proof(key, what).encode(), given.encode())
