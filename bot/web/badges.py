"""Badges: how a branch's last build went, and what an environment runs, as pictures for a README.

A public repository's are open to all. Of another one who may not read it hears what he hears of one that is
not there: so bot/web/guard.py has it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import jinja2
from sqlmodel import col, select
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.store.database import Store
from bot.store.tables import Environment, Job, JobState, Release, ReleaseState, Run
from bot.web.api.rows import repository
from bot.web.rules import BADGES
from workers.contract.messages import Kind

GREEN, RED, YELLOW, GREY = "#1a7f37", "#b62324", "#8a5a00", "#57606a"
_WORDS = {
    JobState.FAILED: ("failing", RED),
    JobState.RUNNING: ("building", YELLOW),
    JobState.QUEUED: ("waiting", YELLOW),
    JobState.WAITING: ("waiting", YELLOW),
    JobState.CANCELLED: ("cancelled", GREY),
    JobState.SUCCEEDED: ("passing", GREEN),
}
_UNKNOWN = ("unknown", GREY)
_EDGE, _CHARACTER = 10, 6.6  # pixels: of both sides, and of a letter as wide as most
# GitHub's proxy of pictures asks again where it may not keep one:
# https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-anonymized-urls
_HEADERS = {"Cache-Control": "no-cache, max-age=0", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Badges:
    """The routes."""

    store: Store

    def routes(self) -> list[Route]:
        at = f"{BADGES}{{owner}}/{{name}}"
        return [
            Route(f"{at}/build.svg", self.build),
            Route(f"{at}/environments/{{environment}}.svg", self.environment),
        ]

    async def build(self, request: Request) -> Response:
        """How the newest builds of `?branch=`, or of the default branch, went."""
        async with self.store.reading() as session:
            owner = await repository(session, request.path_params)
            branch = request.query_params.get("branch", "").replace("\0", "") or owner.default_branch
            built = (
                select(Run.id)
                .join(Job, col(Job.run_id) == col(Run.id))
                .where(
                    Run.repository_id == owner.id, Run.ref == f"refs/heads/{branch}", Job.kind == Kind.BUILD
                )
            )
            run = (await session.exec(built.order_by(col(Run.id).desc()).limit(1))).first()
            jobs = select(Job.state).where(Job.run_id == run, Job.kind == Kind.BUILD)
            states = {JobState(state) for state in (await session.exec(jobs)).all()}
        return picture(request, branch, *verdict(states))

    async def environment(self, request: Request) -> Response:
        """What an environment runs."""
        name = request.path_params["environment"]
        async with self.store.reading() as session:
            owner = await repository(session, request.path_params)
            here = select(Environment).where(Environment.repository_id == owner.id, Environment.name == name)
            place = (await session.exec(here)).first()
            serving = select(Release).where(
                Release.environment_id == (place.id if place else None), Release.state == ReleaseState.LIVE
            )
            live = (await session.exec(serving)).first()
        return picture(request, name, *stands(place, live))


def verdict(states: set[JobState]) -> tuple[str, str]:
    """Pure: what a run's builds come to, in a word and its colour."""
    return next((said for state, said in _WORDS.items() if state in states), _UNKNOWN)


def stands(place: Environment | None, live: Release | None) -> tuple[str, str]:
    """Pure: how an environment is."""
    if place is None:
        return _UNKNOWN
    if place.maintenance:
        return "maintenance", YELLOW
    if live is None:
        return ("asleep" if place.asleep else "stopped" if place.stopped else "empty"), GREY
    return f"{'ailing' if live.problem else 'live'} {live.sha[:7]}", RED if live.problem else GREEN


def picture(request: Request, label: str, message: str, colour: str) -> Response:
    """An SVG, which programs read aloud by its title."""
    label = label[:60]
    left, right = (round(_EDGE + _CHARACTER * len(text)) for text in (label, message))
    text = _template().render(label=label, message=message, colour=colour, left=left, right=right)
    mark = f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'
    headers = {**_HEADERS, "ETag": mark}
    if request.headers.get("if-none-match") == mark:
        return Response(status_code=304, headers=headers)
    return Response(text, headers=headers, media_type="image/svg+xml")


def _template() -> jinja2.Template:
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    return jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True).get_template(
        "badge.svg.j2"
    )
