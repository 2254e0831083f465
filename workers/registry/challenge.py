"""Pure: what a registry answers to somebody unknown, and what it wants to hear then.

https://distribution.github.io/distribution/spec/auth/token/ and …/auth/oauth/
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from config.registries import IDENTITY_TOKEN
from workers.contract.messages import RegistryLogin
from workers.registry.reference import is_plain

_PARAMETER = re.compile(r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LEAST = 60.0  # seconds that a token lives at least, if nothing is said
_LIVED = 0.8  # of its life, after which a token is not used any more


@dataclass(frozen=True)
class Challenge:
    """How a registry wants to be told who asks."""

    realm: str | None = None  # the URL that gives tokens; None: a password is enough
    service: str = ""


@dataclass(frozen=True)
class Token:
    """What a realm gave."""

    value: str = field(repr=False)
    seconds: float  # in which it may be used


@dataclass(frozen=True)
class TokenRequest:
    """How a realm is asked for one."""

    method: str
    query: dict[str, str]
    form: dict[str, str] | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)


def read(header: str) -> Challenge | None:
    """The challenge of a WWW-Authenticate; None where it has none that we know."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() == "basic":
        return Challenge()
    parameters = {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
    if scheme.lower() != "bearer" or not parameters.get("realm"):
        return None
    return Challenge(parameters["realm"], parameters.get("service", ""))


def trusted(realm: str, host: str) -> bool:
    """Whether a login at `host` may be told to that realm: over TLS, or where both are on this machine."""
    url = urlsplit(realm)
    return bool(url.netloc) and (url.scheme == "https" or (is_plain(url.netloc) and is_plain(host)))


def basic(login: RegistryLogin) -> str:
    """The Authorization that tells a password."""
    return "Basic " + base64.b64encode(f"{login.username}:{login.password}".encode()).decode()


def scope(path: str, *, write: bool) -> str:
    """What a token is to allow."""
    return f"repository:{path}:{'pull,push' if write else 'pull'}"


def token_request(challenge: Challenge, wanted: str, login: RegistryLogin | None) -> TokenRequest:
    """How a token for the scope `wanted` (none if empty) is asked for."""
    asked = {"service": challenge.service, "scope": wanted}
    asked = {name: value for name, value in asked.items() if value}
    if login is None:
        return TokenRequest("GET", asked)
    if login.username == IDENTITY_TOKEN:
        grant = {"grant_type": "refresh_token", "client_id": "blacktree", "refresh_token": login.password}
        return TokenRequest("POST", {}, {**asked, **grant})
    return TokenRequest("GET", asked, headers={"Authorization": basic(login)})


def token(body: bytes) -> Token | None:
    """The token in a realm's answer."""
    try:
        answer = json.loads(body)
        value = answer.get("token") or answer.get("access_token")
        seconds = max(0.0, float(answer.get("expires_in") or _LEAST))
    except (ValueError, TypeError, AttributeError):
        return None
    return Token(value, seconds * _LIVED) if isinstance(value, str) and value else None
