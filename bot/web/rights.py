"""Who asks, and how far their rights go. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from bot.github.people import Account


class Right(IntEnum):
    """On a repository; each has those before it."""

    NONE = 0
    READ = 1  # sees it: environments, runs, logs
    DEPLOY = 2  # builds, deploys, cancels, as far as gates and `deployers` let it
    ADMIN = 3  # its secrets, and what is inside its containers


# What GitHub calls them: https://docs.github.com/rest/collaborators/collaborators
OF_PERMISSION = {"read": Right.READ, "write": Right.DEPLOY, "admin": Right.ADMIN}
OF_SCOPE = {"read": Right.READ, "deploy": Right.DEPLOY, "admin": Right.ADMIN}


@dataclass(frozen=True)
class Who:
    """Somebody who proved who they are.

    With an `account` GitHub says what they may; `instance` is who administers this instance and may do
    everything. A token narrows both: to the `most`, and to `repositories` where it names some.
    """

    name: str
    how: str
    account: Account | None = None
    instance: bool = False
    most: Right = Right.ADMIN
    repositories: frozenset[int] | None = None
    speaks: bool = False  # for whom it likes: its requests name an actor

    @property
    def administers(self) -> bool:
        """Whether this instance itself is theirs to see to."""
        return self.instance and self.most is Right.ADMIN and self.repositories is None

    @property
    def sees_all(self) -> bool:
        """Whether no repository is hidden from them."""
        return self.unasked and self.repositories is None

    @property
    def unasked(self) -> bool:
        """Whether their rights are known without GitHub."""
        return self.instance or self.account is None


def on(who: Who, repository: int, permission: str) -> Right:
    """The right on a repository; `permission` is GitHub's word, which counts for its own people only."""
    if who.repositories is not None and repository not in who.repositories:
        return Right.NONE
    base = Right.ADMIN if who.unasked else OF_PERMISSION.get(permission, Right.NONE)
    return min(base, who.most)
