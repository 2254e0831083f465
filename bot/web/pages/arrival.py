"""Somebody who comes back from GitHub: who they are, and whether they may come in."""

from __future__ import annotations

import re
from dataclasses import dataclass

import structlog
from starlette.requests import Request

from bot.github.client import GitHubError, GitHubUnavailable
from bot.github.people import CALLBACK, Account, People
from bot.web.permissions import Permissions
from bot.web.sessions import Leaving, Sessions
from config.settings import Settings

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_AGAIN = "begin here again"

log = structlog.get_logger()


class NotIn(Exception):
    """Nobody is signed in by this; the text says why and what to do."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Arrival:
    """Sends people to GitHub and knows them when they come back. `public_url` may be empty."""

    people: People
    permissions: Permissions
    sessions: Sessions
    public_url: str

    @classmethod
    def of(
        cls, people: People, permissions: Permissions, sessions: Sessions, settings: Settings
    ) -> Arrival | None:
        """None where the App's client is not known."""
        return cls(people, permissions, sessions, settings.public_url) if people.client else None

    def address(self, request: Request, leaving: Leaving) -> str:
        """Where the browser goes."""
        return self.people.address(leaving.state, leaving.verifier, self._here(request))

    async def account(self, request: Request) -> tuple[Account, str]:
        """Who it is, and where they wanted to go. Raises NotIn, and then their code is of no more use."""
        given = request.query_params
        returned = await self.sessions.back(request, given.get("state", ""))
        if returned is None:
            raise NotIn(400, f"This browser did not begin here, or over ten minutes ago, or twice: {_AGAIN}")
        if given.get("error"):
            raise NotIn(403, f"GitHub says that you did not agree, or that it may not be asked: {_AGAIN}")
        code = given.get("code", "")
        if not _CODE.fullmatch(code):
            raise NotIn(400, f"GitHub sent no code: {_AGAIN}")
        try:
            account = await self.people.behind(code, returned.verifier, self._here(request))
        except GitHubError as error:
            raise _unsaid(error, f"GitHub does not take this code: {_AGAIN}", 403) from error
        try:
            welcome = await self.permissions.welcome(account)
        except GitHubError as error:
            sentence = f"GitHub does not say whether {account.login} may come in: the bot's log has why"
            raise _unsaid(error, sentence, 502) from error
        if not welcome:
            raise NotIn(403, f"{account.login} may not sign in here: ask who runs this instance")
        return account, returned.wanted

    def _here(self, request: Request) -> str:
        """The address that GitHub sends the browser back to: the public one, or the one that it came by."""
        base = self.public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"
        return f"{base}{CALLBACK}"


def _unsaid(error: GitHubError, sentence: str, status: int) -> NotIn:
    """What is told where GitHub did not say what was asked."""
    log.warning("GitHub does not say who somebody is", error=str(error))
    if isinstance(error, GitHubUnavailable):
        return NotIn(503, f"GitHub does not answer as it should just now: {_AGAIN} in a minute")
    return NotIn(status, sentence)
