"""The JSON API's orders: deploy, roll back, promote, stop, wake, maintenance. The same gates hold them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bot import admission, deploying, plan, quiet, record, releases
from bot.commands.control import BACK_SOON, maintained
from bot.decision import Cause, Decision, Refused
from bot.deploying import Wanted
from bot.events.desk import Desk
from bot.events.forks import fork
from bot.github.client import GitHubError
from bot.github.forge import GitHub
from bot.store.database import Store
from bot.store.tables import Environment, Repository
from bot.web.access import authorize, no_web_page
from bot.web.places import found
from config.errors import ConfigError
from config.settings import Settings

_MOST_BODY = 64 * 1024  # bytes
_KEY = "idempotency-key"

Words = Annotated[str, Field(max_length=500)]


class _Body(BaseModel):
    """Who wants it, as that person says, and why: both are kept with the release."""

    model_config = ConfigDict(extra="forbid")

    actor: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")] = "api"
    why: Words = ""


class _Deploy(_Body):
    release: int | None = None  # a preview's head, or the default branch's, if None


class _Rollback(_Body):
    release: str | None = Field(None, max_length=40, description="its number or commit; the one before")


class _Promote(_Body):
    source: str = Field(alias="from", max_length=64)


class _Stop(_Body):
    volumes: bool = False  # of a preview they go anyway


class _Maintenance(_Body):
    on: bool
    text: Words = ""


class _Held(Exception):
    """Gates hold what is asked for."""

    def __init__(self, gates: list[str]) -> None:
        super().__init__("; ".join(gates))
        self.gates = gates


B = TypeVar("B", bound=_Body)
Act = Callable[[Desk, Environment, Any, str], Awaitable[Decision]]


@dataclass(frozen=True)
class Orders:
    """The routes that change something."""

    store: Store
    github: GitHub
    settings: Settings

    def routes(self) -> list[Route]:
        return [
            self._order("deploys", _Deploy, _deploy),
            self._order("rollback", _Rollback, _rollback),
            self._order("promote", _Promote, _promote),
            self._order("stop", _Stop, _stop),
            self._order("maintenance", _Maintenance, _maintenance),
            Route("/environments/{id:int}/wake", self.wake, methods=["POST"]),
        ]

    async def wake(self, request: Request) -> Response:
        """Start a preview that sleeps."""
        environment, _ = await self._place(request)
        await quiet.wake(self.store, environment.id or 0)
        return JSONResponse({"message": f"{environment.name} is being woken"}, status_code=202)

    def _order(self, name: str, body: type[B], act: Act) -> Route:
        async def ordered(request: Request) -> Response:
            environment, repository = await self._place(request)
            said = await _read(request, body)
            desk = Desk(self.github, self.store, repository, self.settings)
            key = f"api:{environment.id}:{name}:{request.headers.get(_KEY) or uuid4().hex}"
            try:
                made = await act(desk, environment, said, key)
            except _Held as held:
                return JSONResponse({"message": str(held), "held": held.gates}, status_code=409)
            except (Refused, ConfigError) as error:
                raise HTTPException(422, str(error)) from None
            except GitHubError as error:
                raise HTTPException(502, f"GitHub: {error}") from None
            return await self._done(repository, made)

        return Route(f"/environments/{{id:int}}/{name}", ordered, methods=["POST"])

    async def _place(self, request: Request) -> tuple[Environment, Repository]:
        authorize(request, self.settings.api_token)
        no_web_page(request, self.settings.api_token)
        async with self.store.reading() as session:
            environment = await found(session, Environment, request)
            repository = await session.get_one(Repository, environment.repository_id)
        if repository.inactive:
            raise HTTPException(409, f"{repository.full_name} is {repository.inactive}")
        return environment, repository

    async def _done(self, repository: Repository, made: Decision) -> Response:
        settings = self.settings
        async with self.store.transaction() as session:
            said, run = await record.decision(
                session, repository, made, "", settings.worker_pool, settings.attempts
            )
        return JSONResponse({"message": said, "run": run}, status_code=202)


async def _deploy(desk: Desk, place: Environment, body: _Deploy, key: str) -> Decision:
    if body.release is not None:
        wanted = await deploying.release(desk, body.release, place.name, body.actor)
        return await _gated(desk, wanted, "api deploy", body, key)
    if place.pull_number is not None:
        return await _preview(desk, place.pull_number, body, key)
    return await _gated(desk, await deploying.branch(desk, place.name, body.actor), "api deploy", body, key)


async def _rollback(desk: Desk, place: Environment, body: _Rollback, key: str) -> Decision:
    wanted = await deploying.rollback(desk, place.name, body.release, body.actor)
    return await _gated(desk, wanted, "api rollback", body, key)


async def _promote(desk: Desk, place: Environment, body: _Promote, key: str) -> Decision:
    wanted = await deploying.promotion(desk, body.source, place.name, body.actor)
    return await _gated(desk, wanted, "api promote", body, key)


async def _stop(desk: Desk, place: Environment, body: _Stop, key: str) -> Decision:
    held = [str(lock) for lock in await admission.locks(desk, place.name) if lock.owner != body.actor]
    if held:
        raise _Held(held)
    async with desk.store.reading() as session:
        last = await releases.newest(session, desk.repository.id, place.name)
    if last is None:
        raise Refused(f"{place.name} runs nothing")
    volumes = body.volumes or place.pull_number is not None
    cause = Cause("api stop", key, f"environment/{place.name}", last.sha, body.actor)
    return Decision(f"stops {place.name}", cause, (plan.stop(place.name, volumes=volumes),))


async def _maintenance(desk: Desk, place: Environment, body: _Maintenance, _key: str) -> Decision:
    effect = await maintained(desk, place.name, (body.text or BACK_SOON) if body.on else "")
    return Decision(f"{place.name} is {'in maintenance' if body.on else 'open'}", effects=(effect,))


async def _gated(desk: Desk, wanted: Wanted, kind: str, body: _Body, key: str) -> Decision:
    """Run what is wanted, if every gate is open. Raises _Held."""
    found = await admission.holding(desk, wanted.wish, wanted.holds)
    if hard := [str(closed) for closed in found if not closed.warning]:
        raise _Held(hard)
    cause = Cause(kind, key, wanted.ref, wanted.sha, body.actor)
    said = f"deploys {wanted.sha[:7]} to {wanted.wish.environment}"
    return Decision(said, cause, tuple(deploying.because(job, body.why) for job in wanted.jobs))


async def _preview(desk: Desk, number: int, body: _Body, key: str) -> Decision:
    """A pull request's head, as /redeploy does it."""
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        raise Refused(f"#{number} is closed")
    cause = Cause("api deploy", key, f"refs/pull/{number}/head", head.sha, body.actor, number)
    if head.fork:
        made = await fork(desk, head, cause)
        if made.cause is None:
            raise Refused(made.reason)
        return made
    jobs = plan.preview(await desk.config(head.sha), number, head.sha)
    if not jobs:
        raise Refused("the repository has no previews: its file names no environment preview")
    return Decision(f"runs {head.sha[:7]} of #{number}", cause, tuple(jobs), pull=head, waiting="")


async def _read(request: Request, body: type[B]) -> B:
    """The request's body, which may be empty. Raises HTTPException."""
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > _MOST_BODY:
            raise HTTPException(413, f"the body is larger than {_MOST_BODY} bytes")
    try:
        return body.model_validate(json.loads(bytes(raw)) if raw else {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise HTTPException(400, f"{where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise HTTPException(400, "the body is not JSON") from None
