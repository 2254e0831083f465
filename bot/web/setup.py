"""`/setup`: a fresh instance becomes a GitHub App by the App manifest flow.

Whoever opens the page proves with a token from this process's log that the instance is theirs. The form
goes to GitHub with the manifest and a state; GitHub sends the browser back with the state and a code, for
which it gives the App's credentials once.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from bot.github.auth import ASKED, WITH_CHECKS
from bot.github.client import Client, GitHubError, GitHubRefused, GitHubUnavailable
from bot.github.hooks import EVENTS, out_of_reach, webhook_url
from bot.github.people import CALLBACK
from bot.secrets.credentials import MadeApp, keep
from bot.secrets.vault import Vault
from config.errors import ConfigError
from config.settings import Settings
from config.trust import trusted

_STATE_LIFE = 60 * 60  # seconds; GitHub's codes live as long
_MOST_STATES = 20  # a page that is opened more often than that forgets its oldest form
_MOST_NAME = 34  # characters of an App's name
_TIMEOUT = 20.0  # seconds for GitHub to answer
_RETRY = 60  # seconds after which a webhook may be tried again
_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_AGAIN = "open the setup page again, with the address that the log of this instance names"

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), undefined=StrictUndefined, autoescape=True
)
log = structlog.get_logger()


class _Failed(Exception):
    """This setup came to nothing; the text says why and what to do."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Setup:
    """The pages of a fresh instance, which the world knows as `base`; `done` is set once it has its App."""

    def __init__(self, settings: Settings, vault: Vault) -> None:
        self.done = asyncio.Event()
        self.base = settings.base_url
        self._settings = settings
        self._vault = vault
        self._token = secrets.token_urlsafe(32)
        self._one = asyncio.Lock()
        self._states: dict[str, float] = {}  # each with its end, by the monotonic clock

    @property
    def address(self) -> str:
        """Where whoever reads the log goes on. It holds the token."""
        return f"{self.base}/setup?{urlencode({'token': self._token})}"

    def application(self) -> Starlette:
        """The setup, health, and a receiver that asks GitHub to come again."""
        return Starlette(
            routes=[
                Route("/", _not_yet),
                Route("/setup", self.page),
                Route("/setup/done", self.back),
                Route("/webhooks/github", _not_yet, methods=["POST"]),
                Route("/healthz", _alive),
                Route("/readyz", _not_yet),
            ]
        )

    async def page(self, request: Request) -> Response:
        """The form that makes the App, for whoever has the token."""
        if self.done.is_set():
            return self._shown("failed", 404, sentence="this instance is set up already")
        if not hmac.compare_digest(request.query_params.get("token", "").encode(), self._token.encode()):
            return self._shown("failed", 403, sentence=f"the token is missing or another one: {_AGAIN}")
        if sentence := out_of_reach(self.base, self._settings.github_url):
            return self._shown("failed", 409, sentence=sentence)
        organization = request.query_params.get("organization", "").strip()
        if organization and not _LOGIN.fullmatch(organization):
            sentence = "that is no organisation's name: go back and give it as it is in its page's address"
            return self._shown("failed", 400, sentence=sentence)
        return self._shown(
            "setup",
            github=urlsplit(self._settings.github_url).netloc,
            action=self._action(organization),
            manifest=json.dumps(manifest(self.base)),
            with_checks=json.dumps(manifest(self.base, WITH_CHECKS)),
            organization=organization,
            token=self._token,
            permissions=ASKED,
            more={name: level for name, level in WITH_CHECKS.items() if level != ASKED[name]},
            events=EVENTS,
        )

    async def back(self, request: Request) -> Response:
        """From GitHub, with the code for the App's credentials."""
        state, code = (request.query_params.get(name, "") for name in ("state", "code"))
        try:
            async with self._one:
                app = await self._converted(state, code)
                self.done.set()
        except _Failed as error:
            log.warning("the setup failed", error=str(error))
            return self._shown("failed", error.status, sentence=str(error))
        log.info("set up", app=app.slug, app_id=app.id)
        return self._shown("done", slug=app.slug, install=f"{self._page_of(app)}/installations/new")

    async def _converted(self, state: str, code: str) -> MadeApp:
        """The App behind `code`, sealed. Raises _Failed, and then nothing was kept."""
        if self.done.is_set():
            raise _Failed(404, "this instance is set up already")
        until = self._states.pop(state, 0.0)
        if until < time.monotonic():
            raise _Failed(403, f"no form of this instance's waits for this answer any more: {_AGAIN}")
        if not _CODE.fullmatch(code):
            raise _Failed(400, f"GitHub sent no code: {_AGAIN}")
        try:
            app = MadeApp.model_validate(await self._asked(code))
            await keep(self._vault, app)
        except GitHubUnavailable as error:
            self._states[state] = until  # the code is good for another try
            raise _Failed(502, f"{_without(code, error)}. Load this page again in a minute") from error
        except GitHubRefused as error:
            raise _Failed(502, f"{_without(code, error)}. {self._afresh()}") from error
        except ValidationError as error:
            raise _Failed(502, f"GitHub sent no whole App. {self._afresh()}") from error
        except ConfigError as error:
            raise _Failed(500, f"{error}. {self._afresh()}") from error
        except SQLAlchemyError as error:
            raise _Failed(500, f"the store does not answer. {self._afresh()}") from error
        return app

    async def _asked(self, code: str) -> Any:
        async with httpx2.AsyncClient(verify=trusted(), timeout=_TIMEOUT, follow_redirects=False) as http:
            client = Client(http, self._settings.github_api_url)
            return await client.post("/app-manifests/{code}/conversions", {"code": code}, data=b"")

    def _afresh(self) -> str:
        return (
            "Nothing was kept here. If the App is in your list at GitHub, delete it there, since its key is "
            f"given only once; then {_AGAIN}"
        )

    def _action(self, organization: str) -> str:
        """Where the form goes, with a new state."""
        now, state = time.monotonic(), secrets.token_urlsafe(32)
        alive = [(known, until) for known, until in self._states.items() if until > now]
        self._states = dict(alive[-(_MOST_STATES - 1) :]) | {state: now + _STATE_LIFE}
        owner = f"/organizations/{organization}" if organization else ""
        return f"{self._settings.github_url}{owner}/settings/apps/new?{urlencode({'state': state})}"

    def _page_of(self, app: MadeApp) -> str:
        """The App's page, on no other host than our GitHub's."""
        ours = app.html_url.startswith(f"{self._settings.github_url}/")
        return app.html_url if ours else f"{self._settings.github_url}/apps/{app.slug}"

    def _shown(self, template: str, status: int = 200, **values: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        page = _templates.get_template(f"{template}.html.j2").render(nonce=nonce, **values)
        github = "{0.scheme}://{0.netloc}".format(urlsplit(self._settings.github_url))
        headers = {
            "Content-Security-Policy": (
                f"default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self' {github}; "
                "base-uri 'none'; frame-ancestors 'none'"
            ),
            "Cache-Control": "no-store",
            "Referrer-Policy": "strict-origin",  # the address holds the token
            "X-Content-Type-Options": "nosniff",
        }
        return HTMLResponse(page, status, headers)


def manifest(base: str, permissions: Mapping[str, str] = ASKED) -> dict[str, Any]:
    """The App of an instance at `base`: https://docs.github.com/apps/sharing-github-apps."""
    return {
        "name": f"Blacktree {urlsplit(base).hostname}"[:_MOST_NAME].rstrip(" .-"),
        "url": base,
        "description": "Builds and deploys what is pushed.",
        "hook_attributes": {"url": webhook_url(base), "active": True},
        "redirect_url": f"{base}/setup/done",
        "callback_urls": [f"{base}{CALLBACK}"],
        "public": False,
        "default_permissions": dict(permissions),
        "default_events": list(EVENTS),
    }


def _without(code: str, error: GitHubError) -> str:
    """What GitHub said, without the code, which may still be good."""
    return str(error).replace(code, "…").rstrip(".")


async def _alive(_request: Request) -> Response:
    return JSONResponse({"status": "alive"})


async def _not_yet(_request: Request) -> Response:
    body = {
        "status": "setup",
        "message": "this instance is not set up yet: its log says where",
    }
    return JSONResponse(body, status_code=503, headers={"Retry-After": str(_RETRY)})
