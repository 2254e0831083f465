"""Whose certificates this process trusts. They are read once: that takes longer than all else of a client."""

from __future__ import annotations

import ssl
from functools import cache

import httpx2


@cache
def trusted() -> ssl.SSLContext:
    """The machine's authorities, or those that SSL_CERT_FILE and SSL_CERT_DIR name."""
    return httpx2.create_ssl_context()
