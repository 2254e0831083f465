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

# RFC 9110, 11.6.1: challenges are parted by commas, and so are their parameters.
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_TOKEN68 = re.compile(r"\s+[0-9A-Za-z._~+/-]+=*(?=\s*(?:,|$))")
_SCHEME = re.compile(rf"({_WORD})(?=[\s,]|$)")
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


def read(header: str, host: str) -> Challenge | None:
    """The best challenge in the WWW-Authenticate of `host`; None where it has none that we can answer.

    A token goes before a password, unless it is given by somebody whom no password may be told.
    """
    asked = _challenges(header)
    tokens = [about for scheme, about in asked if scheme == "bearer" and about.get("realm")]
    best = next((about for about in tokens if trusted(about["realm"], host)), None)
    if best is None and any(scheme == "basic" for scheme, _ in asked):
        return Challenge()
    best = best or next(iter(tokens), None)
    return Challenge(best["realm"], best.get("service", "")) if best else None


def _challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Their schemes and parameters, in small letters but for the values."""
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(header):
        if match := _PARAMETER.match(header, at):
            if found:
                value = re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3]
                found[-1][1].setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(header, at):
            found.append((match[1].lower(), {}))
            match = _TOKEN68.match(header, match.end()) or match
        at = match.end() if match else at + 1
    return found


def trusted(realm: str, host: str) -> bool:
    """Whether a login at `host` may be told to that realm: over TLS, or where both are on this machine."""
    try:
        url = urlsplit(realm)
    except ValueError:
        return False
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
