"""Sign in with a link, the token or GitHub, see where one is signed in, sign out, choose light or dark."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.github.people import CALLBACK, Account
from bot.store import audit
from bot.store.audit import Changed
from bot.store.database import Store
from bot.web.guard import address, noted, who
from bot.web.pages import forms
from bot.web.pages.arrival import Arrival, NotIn
from bot.web.pages.render import THEME, THEMES, Pages, person
from bot.web.rules import GITHUB, SIGN_IN
from bot.web.sessions import ADMINISTRATOR, Sessions
from bot.web.throttle import Throttle

_YEAR = 365 * 24 * 3600  # seconds

log = structlog.get_logger()


@dataclass(frozen=True)
class Signing:
    """The routes. Without an `arrival` there is no button for GitHub."""

    pages: Pages
    store: Store
    sessions: Sessions
    arrival: Arrival | None = None
    throttle: Throttle = field(default_factory=Throttle)

    def routes(self) -> list[Route]:
        return [
            Route(SIGN_IN, self.form),
            Route(SIGN_IN, self.sign_in, methods=["POST"]),
            Route(GITHUB, self.leave),
            Route(CALLBACK, self.back),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/sessions", self.list),
            Route("/theme", self.theme, methods=["POST"]),
        ]

    async def form(self, request: Request) -> Response:
        """Ask for the token; a link's code waits for a click, as mail scanners and previews follow links."""
        wanted = forms.local(request.query_params.get("next", ""))
        if person(request):
            return RedirectResponse(wanted, 303)
        return self._asked(request, wanted, code=request.query_params.get("code", ""))

    async def sign_in(self, request: Request) -> Response:
        """Open a session for whoever proves that the instance is theirs."""
        fields = await forms.read(request)
        wanted = forms.local(fields.get("next", ""))
        if held := self._held(request, wanted):
            return held
        how = await self._proven(fields)
        if not how:
            wrong = (
                "This link was used, or is older than an hour: `blacktree login-link` prints a new one"
                if fields.get("code")
                else "That is not the token of this instance: `blacktree token` prints it"
            )
            return self._failed(request, wanted, wrong)
        return await self._opened(request, wanted, how)

    async def leave(self, request: Request) -> Response:
        """Go to GitHub, which asks who it is."""
        wanted = forms.local(request.query_params.get("next", ""))
        if self.arrival is None:
            raise HTTPException(404, "nobody signs in with GitHub here: GITHUB_CLIENT_ID is not set")
        leaving = self.sessions.leave(request, wanted)
        answer = RedirectResponse(self.arrival.address(request, leaving), 303)
        self._set(answer, leaving.cookie, leaving.value, leaving.lasts, leaving.secure)
        return answer

    async def back(self, request: Request) -> Response:
        """From GitHub, with a code for who it is: a session opens where that may come in."""
        if self.arrival is None:
            raise HTTPException(404, "nobody signs in with GitHub here: GITHUB_CLIENT_ID is not set")
        if held := self._held(request, "/"):
            return held
        try:
            account, wanted = await self.arrival.account(request)
        except NotIn as error:
            return self._failed(request, "/", str(error), error.status)
        answer = await self._opened(request, forms.local(wanted), "GitHub", account)
        name, secure = self.sessions.door(request)
        answer.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="lax")
        return answer

    async def _opened(
        self, request: Request, wanted: str, how: str, account: Account | None = None
    ) -> Response:
        opened = await self.sessions.open(request, how, account)
        name = account.login if account else ADMINISTRATOR
        here = Changed(name, f"a session, by {how}", "signed in", address=address(request))
        await audit.written(self.store, here)
        answer = RedirectResponse(wanted, 303)
        self._set(answer, opened.cookie, opened.value, opened.lasts, opened.secure)
        return answer

    def _set(self, answer: Response, name: str, value: str, lasts: int, secure: bool) -> None:
        answer.set_cookie(name, value, lasts, path="/", secure=secure, httponly=True, samesite="lax")

    def _held(self, request: Request, wanted: str) -> Response | None:
        """What an address is told that failed too often."""
        if not (seconds := self.throttle.wait(address(request))):
            return None
        sentence = f"Too many tries from your address: wait {seconds:.0f} seconds, then try again"
        answer = self._asked(request, wanted, 429, sentence)
        answer.headers["Retry-After"] = f"{seconds:.0f}"
        return answer

    def _failed(self, request: Request, wanted: str, wrong: str, status: int = 403) -> Response:
        if status == 403:  # no state is guessed: who sends somebody's browser here holds nobody up
            self.throttle.failed(address(request))
        log.warning("nobody was signed in", address=address(request), why=wrong)
        return self._asked(request, wanted, status, wrong)

    async def _proven(self, fields: dict[str, str]) -> str:
        """By what somebody proved it, empty if by nothing."""
        if code := fields.get("code", ""):
            return "a link" if await self.sessions.redeem(code) else ""
        return "the token" if self.sessions.is_token(fields.get("token", "").strip()) else ""

    def _asked(
        self, request: Request, wanted: str, status: int = 200, wrong: str = "", code: str = ""
    ) -> Response:
        at_github = GITHUB if self.arrival else ""
        return self.pages.shown(
            request, "sign-in", status, next=wanted, wrong=wrong, code=code, at_github=at_github
        )

    async def list(self, request: Request) -> Response:
        """Where one is signed in; who administers this instance, where everybody is."""
        return self.pages.shown(request, "sessions", sessions=await self.sessions.all(_only(request)))

    async def sign_out(self, request: Request) -> Response:
        """End this session, or the one that is named."""
        fields = await forms.read(request)
        here = person(request)
        if here is None:
            raise HTTPException(400, "you are not signed in: you came with the token")
        other = fields.get("mark", "") or here.mark
        known = who(request)
        if await self.sessions.end(other, _only(request)) and known:
            what = "signed out" if other == here.mark else "ended another session"
            await audit.written(self.store, noted(request, known, what))
        return RedirectResponse("/sessions" if other != here.mark else SIGN_IN, 303)

    async def theme(self, request: Request) -> Response:
        """Remember light, dark, or what the system says."""
        fields = await forms.read(request)
        answer = RedirectResponse(forms.local(fields.get("next", "")), 303)
        if (chosen := fields.get("theme", "")) in THEMES:
            answer.set_cookie(THEME, chosen, _YEAR, path="/", samesite="lax", httponly=True)
        return answer


def _only(request: Request) -> Account | None:
    """Whose sessions one sees and ends: one's own, or for the administrators all. A program has none."""
    known = who(request)
    if known is not None and known.administers:
        return None
    return (known and known.account) or Account("", 0)
