"""A page as an answer: its template, the words for times and sizes, and the headers that it is told with."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from bot.web.access import PERSON
from bot.web.assets import STATIC
from bot.web.guard import right, who
from bot.web.rights import Right
from bot.web.sessions import Person
from config.settings import Settings
from workers.contract.messages import now

THEME = "blacktree-theme"  # the cookie that remembers the choice: no secret
NOTHING = "-"  # where there is no time
THEMES = ("system", "light", "dark")
FOLDER = Path(__file__).parent

# Nothing is loaded from elsewhere, and nothing in a page runs that is not one of our files.
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_BROWSERS = (
    ("Firefox/", "Firefox"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Mac OS", "macOS"),
    ("Windows", "Windows"),
    ("Linux", "Linux"),
)
_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True)
class Asset:
    """A file that pages are shown with."""

    body: bytes = field(repr=False)
    media_type: str
    mark: str


class Pages:
    """Shows templates."""

    def __init__(self, settings: Settings) -> None:
        self._assets = {name: _asset(name) for name in STATIC}
        self._github = settings.github_url
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            undefined=StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            ago=ago,
            browser=browser,
            lasted=lasted,
            waited=duration,
            size=size,
            short=lambda sha: sha[:7],
            host=lambda url: urlsplit(url).netloc,
        )
        self._templates.globals.update(github=self._github, themes=THEMES)

    def shown(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """The page of this template."""
        theme, asking = request.cookies.get(THEME, ""), who(request)
        known: dict[str, Any] = {
            "person": person(request),
            "deploys": right(request) >= Right.DEPLOY,
            "administers": asking is not None and asking.administers,
            "path": request.url.path,
            "here": f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path,
            "theme": theme if theme in THEMES else THEMES[0],
            "key": secrets.token_urlsafe(12),  # so that a form that is sent twice does one thing
            "wrong": None,
        }
        text = self._templates.get_template(f"{template}.html.j2").render({**known, **values})
        return HTMLResponse(text, status, _HEADERS)

    def file(self, request: Request) -> Response:
        """One of STATIC. A browser keeps it, and asks each time whether it is still the same."""
        asset = self._assets[request.url.path.rpartition("/")[2]]
        headers = {**_HEADERS, "Cache-Control": "no-cache", "ETag": asset.mark}
        if request.headers.get("if-none-match") == asset.mark:
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.media_type)


def person(request: Request) -> Person | None:
    """Who is signed in. None for who has the token."""
    found: Person | None = request.scope.get(PERSON)
    return found


def _asset(name: str) -> Asset:
    body = (FOLDER / "static" / name).read_bytes()
    return Asset(body, _TYPES[Path(name).suffix], f'"{hashlib.sha256(body).hexdigest()[:16]}"')


def browser(agent: str) -> str:
    """What a browser says of itself, in two words: each says the names of those before it, too."""
    name = next((word for told, word in _BROWSERS if told in agent), "")
    system = next((word for told, word in _SYSTEMS if told in agent), "")
    if not name:
        return agent[:60] or "A browser that says nothing of itself"
    return f"{name} on {system}" if system else name


def ago(at: datetime | None, before: str = "") -> str:
    """A time as its distance from now, with the exact one at hand."""
    if at is None:
        return NOTHING
    exact = at.astimezone(UTC)
    seconds = (now() - exact).total_seconds()
    told = distance(abs(seconds))
    words = "just now" if told == "0 s" else f"in {told}" if seconds < 0 else f"{told} ago"
    return Markup('<time datetime="{}" title="{}">{}{}</time>').format(
        exact.isoformat(timespec="seconds"), exact.strftime("%Y-%m-%d %H:%M:%S UTC"), before, words
    )


def lasted(since: datetime | None, until: datetime | None = None) -> str:
    """How long something took, or takes by now, for people."""
    return NOTHING if since is None else duration(((until or now()) - since).total_seconds())


def duration(seconds: float) -> str:
    """Such as `8.4 s`, `2 min 5 s`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for (unit, most), (smaller, less) in pairwise(_UNITS):
        if whole >= most:
            rest = whole % most // less
            return f"{whole // most} {unit} {rest} {smaller}" if rest else f"{whole // most} {unit}"
    return f"{whole} s"


def distance(seconds: float) -> str:
    """Such as `5 min`: one unit is enough."""
    for unit, most in _UNITS:
        if seconds >= most:
            return f"{int(seconds // most)} {unit}"
    return "0 s"


def size(count: int) -> str:
    """Bytes, such as `4.2 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
