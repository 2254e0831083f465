"""Who asks, and what they may: personal tokens, installation tokens and the App's JWT."""

from dataclasses import dataclass
from typing import Literal

import jwt
from jwt.types import Options

from tests.github.keys import public_key
from tests.github.model import RANKS, InstallationToken, Permission, Repository, User
from tests.github.world import World

LEVELS = ("none", "read", "write", "admin")
JWT_SECONDS = 600
SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
}


@dataclass(frozen=True)
class Principal:
    """`user` is who an act is signed with: a person, or the App's bot."""

    kind: Literal["user", "installation", "app", "nobody"]
    name: str
    user: User | None = None
    token: InstallationToken | None = None

    @property
    def actor(self) -> User:
        if self.user is None:
            raise Refusal(401, "Requires authentication")
        return self.user


class Refusal(Exception):
    """An answer in GitHub's form for errors."""

    def __init__(self, status: int, message: str, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.errors = errors


NOBODY = Principal("nobody", "anonymous")


def authenticate(world: World, header: str | None) -> Principal:
    """The principal of an Authorization header; a bad one is refused, none at all is nobody."""
    if not header:
        return NOBODY
    scheme, _, credential = header.partition(" ")
    if scheme.lower() not in ("token", "bearer"):
        raise Refusal(401, "Bad credentials")
    if credential.count(".") == 2:
        return _app(world, credential)
    principal = by_token(world, credential)
    if principal is None:
        raise Refusal(401, "Bad credentials")
    return principal


def by_token(world: World, credential: str) -> Principal | None:
    """A person or an installation, by a token that still holds."""
    if user := world.user_by_token(credential):
        return Principal("user", user.login, user)
    token = world.tokens.get(credential)
    if not token or token.expires_at <= world.now() or token.installation.id not in world.installations:
        return None
    if token.installation.suspended_at:
        raise Refusal(403, "This installation has been suspended")
    return Principal("installation", f"installation {token.installation.id}", world.app.bot, token)


def _app(world: World, credential: str) -> Principal:
    try:
        claims = jwt.decode(
            credential,
            public_key(world.app.public_key),
            algorithms=["RS256"],
            options=SIGNATURE_ONLY,
        )
    except jwt.PyJWTError:
        raise Refusal(401, "A JSON web token could not be decoded") from None
    now = world.now().timestamp()
    if str(claims.get("iss")) not in (str(world.app.id), world.app.client_id):
        raise Refusal(401, "Integration not found")
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or issued > now:
        raise Refusal(
            401,
            "'Issued at' claim ('iat') must be an Integer representing the time that the assertion "
            "was issued",
        )
    if not isinstance(expires, int | float) or expires <= now:
        raise Refusal(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which "
            "the assertion expires",
        )
    if expires > now + JWT_SECONDS:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    return Principal("app", world.app.slug)


def sees(principal: Principal, repository: Repository) -> bool:
    if principal.token:
        return not repository.private or principal.token.reaches(repository)
    if principal.user:
        return repository.role(principal.user) != "none"
    return not repository.private


def may(
    principal: Principal, repository: Repository, permissions: tuple[str, ...], level: str, role: Permission
) -> bool:
    """An installation needs `level` on one of `permissions`, a person at least `role`."""
    if principal.token:
        granted = [principal.token.permissions.get(name, "none") for name in permissions]
        readable = level == "read" and not repository.private
        enough = any(LEVELS.index(each) >= LEVELS.index(level) for each in granted)
        return (enough and principal.token.reaches(repository)) or readable
    if principal.user:
        return RANKS.index(repository.role(principal.user)) >= RANKS.index(role)
    return role == "read" and level == "read" and not repository.private
