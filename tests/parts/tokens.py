"""A registry that wants tokens, and the server that gives them, as Docker Hub, GHCR and GitLab have it."""

from __future__ import annotations

import base64
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import jwt
from cryptography.hazmat.primitives import serialization
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.parts import certificates
from tests.parts.registry import Registry
from tests.parts.waiting import free_port

_SERVICE, _ISSUER = "registry.test", "tests"
IDENTITY = "an-identity-token"


class TokenServer:
    """Gives a token for what its scope names to whoever has the password or the identity token.

    https://distribution.github.io/distribution/spec/auth/jwt/
    """

    def __init__(self, username: str, password: str) -> None:
        self.port = free_port()
        self.pair = certificates.authority()
        self.scopes: list[str] = []  # that were asked for
        self.expires_in: float = 300
        self._login = base64.b64encode(f"{username}:{password}".encode()).decode()
        self.app = Starlette(routes=[Route("/token", self._token, methods=["GET", "POST"])])

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self.port}/token"

    async def _token(self, request: Request) -> Response:
        asked = dict(parse_qsl((await request.body()).decode() or request.url.query))
        known = request.headers.get("authorization") == f"Basic {self._login}"
        if not (known or asked.get("refresh_token") == IDENTITY):
            return JSONResponse({"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}, 401)
        scope = asked.get("scope", "")
        self.scopes.append(scope)
        return JSONResponse({"token": self._signed(scope), "expires_in": self.expires_in})

    def _signed(self, scope: str) -> str:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        access = [{"type": kind, "name": name, "actions": actions.split(",")}] if scope else []
        now = int(time.time())
        claims = {
            "iss": _ISSUER, "sub": "", "aud": _SERVICE, "iat": now, "nbf": now - 10, "exp": now + 300,
            "jti": secrets.token_hex(8), "access": access,
        }  # fmt: skip
        der = self.pair.certificate.public_bytes(serialization.Encoding.DER)
        chain = [base64.b64encode(der).decode()]
        return jwt.encode(claims, self.pair.key, algorithm="ES256", headers={"x5c": chain})


class TokenRegistry(Registry):
    """docker-registry that takes that server's tokens alone."""

    def __init__(self, server: TokenServer) -> None:
        super().__init__()
        self._server = server

    def prepare(self, folder: Path) -> None:
        (folder / "issuer.crt").write_bytes(self._server.pair.pem)
        super().prepare(folder)

    def auth(self) -> dict[str, Any]:
        return {
            "token": {
                "realm": self._server.realm,
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": f"{self.folder}/issuer.crt",
            }
        }

    def ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/v2/").status_code == 401
        except httpx2.TransportError:
            return False
