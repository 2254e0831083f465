"""The door to what runs: a WebSocket for each shell, the only ones that this bot opens.

Programs come with a token, pages with a session; whoever comes has to administrate the repository, still
while they are there. Who ran which command, when, for how long and how it ended is written down; what is
typed and printed never is.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from dataclasses import dataclass
from uuid import uuid4

import structlog
from sqlmodel import col, select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bot.fleet.shells import Relay
from bot.github.client import GitHubError
from bot.jobs.specs import release_name
from bot.metrics.instruments import Instruments
from bot.store import audit
from bot.store.database import Store
from bot.store.outages import told, why
from bot.store.tables import Environment, Release, ReleaseState, Repository, WorkerRow
from bot.web import problems
from bot.web.access import Access
from bot.web.guard import noted, who
from bot.web.permissions import Permissions
from bot.web.rights import Right, Who, on
from bot.web.rules import SHELL, SHELL_PAGE, as_request
from config.settings import Settings
from workers.contract.queue import BotQueue
from workers.contract.shells import (
    Began,
    Eof,
    Over,
    Printed,
    Sized,
    Start,
    Took,
    Typed,
    Wanted,
    Why,
    from_person,
    packed,
)

log = structlog.get_logger()

OFF = (
    "shells are off on this instance: whoever runs it may set BLACKTREE_EXEC=true, which opens what runs to "
    "all who administrate its repository"
)
CERTAIN = 45.0  # seconds that a yes of GitHub's is good for while it says nothing more
_FIRST = 10.0  # seconds until somebody says what they want
_STOPS = 1012  # https://www.iana.org/assignments/websocket/websocket.xml: it is the server that goes
_UNSAID = f"say what you want to run, within {_FIRST:g} seconds: docs/exec.md has how"
_AWAY = "what this needs is away just now; it is in the bot's log: ask again"
_OURS = "this is our fault; it is in the bot's log"


@dataclass(frozen=True)
class Serves:
    """What a shell may be had in."""

    repository: Repository
    environment: Environment
    release: Release | None
    worker: WorkerRow | None


@dataclass(frozen=True)
class Shells:
    """The routes."""

    store: Store
    queue: BotQueue
    settings: Settings
    access: Access
    permissions: Permissions | None
    instruments: Instruments

    def routes(self) -> list[WebSocketRoute]:
        return [WebSocketRoute(SHELL, self.shell), WebSocketRoute(SHELL_PAGE, self.shell)]

    async def shell(self, socket: WebSocket) -> None:
        """One shell, from its WebSocket's beginning to its end."""
        if not self.settings.exec:
            return await socket.send_denial_response(problems.refused(HTTPException(403, OFF)))
        request = Request(as_request(socket.scope))
        if await self._environment(request) is None:  # whoever administrates the instance is told so here
            missing = HTTPException(404, "there is no such environment")
            return await socket.send_denial_response(problems.refused(missing))
        await socket.accept()
        line = Line(socket)
        try:
            async with asyncio.timeout(_FIRST):
                wanted = await line.wanted()
        except (TimeoutError, ValueError):
            return await line.over(Over(why=Why.REFUSED, sentence=_UNSAID))
        if wanted is None:
            return None
        try:
            over = await self._ran(request, line, wanted)
        except Exception as error:
            told(log, "a shell broke", error)
            over = Over(why=Why.LOST, sentence=_AWAY if why(error) else _OURS)
        return await line.over(over)

    async def _ran(self, request: Request, line: Line, wanted: Wanted) -> Over:
        serves = await self._serves(request)
        if missing := _missing(serves):
            return Over(why=Why.REFUSED, sentence=missing)
        release, worker, name = serves.release, serves.worker, uuid4().hex
        assert release  # noqa: S101
        assert worker  # noqa: S101
        start = Start(
            instance=worker.instance,
            release=release_name(self.store.instance, release),
            wanted=wanted,
            idle=self.settings.exec_idle,
            longest=self.settings.exec_longest,
        )
        about = f"a shell ({name[:8]}) in {serves.environment.name}, release {release.id}, {wanted.process}"
        command = shlex.join(wanted.command or ["/bin/sh"])
        await self._write(request, serves, f"opened {about}: {command}")
        begun, over = time.monotonic(), Over(why=Why.LOST, sentence="the bot stops")
        may = May(self, request, serves.repository)
        try:
            with self.instruments.shell():
                over = await Relay(self.queue, name, worker.name, line, may).run(start)
        finally:
            self.instruments.shell_over(over.why.value)
            how = f"exit code {over.code}" if over.code is not None else over.sentence or over.why.value
            lasted = f"after {time.monotonic() - begun:.0f} s"
            await asyncio.shield(self._ended(request, serves, f"ended {about}, {lasted}: {how}"))
        return over

    async def _environment(self, request: Request) -> Environment | None:
        async with self.store.reading() as session:
            return await session.get(Environment, request.path_params["id"])

    async def _serves(self, request: Request) -> Serves:
        """What runs in the environment of the path."""
        async with self.store.reading() as session:
            environment = await session.get_one(Environment, request.path_params["id"])
            live = select(Release).where(Release.environment_id == environment.id)
            live = live.where(Release.state == ReleaseState.LIVE).order_by(col(Release.id).desc())
            release = (await session.exec(live.limit(1))).first()
            name = release.worker if release else None
            worker = await session.get(WorkerRow, name) if name else None
            repository = await session.get_one(Repository, environment.repository_id)
        return Serves(repository, environment, release, worker)

    async def _ended(self, request: Request, serves: Serves, what: str) -> None:
        """Write down the end. Where the store is away the log has it, and the person their exit code."""
        try:
            await self._write(request, serves, what)
        except Exception as error:
            told(log, "the end of a shell was not written down", error, what=what)

    async def _write(self, request: Request, serves: Serves, what: str) -> None:
        known = who(request)
        assert known, "nobody else is admitted"  # noqa: S101
        changed = noted(request, known, what, repository_id=serves.repository.id)
        await audit.written(self.store, changed)


@dataclass
class May:
    """Whether somebody still may have a shell there, asked again while they have it."""

    door: Shells
    request: Request
    repository: Repository
    certain: float = 0.0

    def __post_init__(self) -> None:
        self.certain = time.monotonic()

    async def __call__(self) -> bool:
        """A session that has ended, a token that was revoked, a right that was taken: no."""
        try:
            still = await self._still()
        except (GitHubError, HTTPException):
            return time.monotonic() - self.certain < CERTAIN
        self.certain = time.monotonic()
        return still

    async def _still(self) -> bool:
        access = self.door.access
        known = await access.who(self.request, await access.person(self.request))
        return known is not None and await self._right(known) >= Right.ADMIN

    async def _right(self, known: Who) -> Right:
        if known.unasked or self.door.permissions is None:
            return on(known, self.repository.id, "none")
        return await self.door.permissions.anew(known, self.repository)


@dataclass(frozen=True)
class Line:
    """A person's WebSocket."""

    socket: WebSocket

    async def wanted(self) -> Wanted | None:
        """What they want to run. Raises ValueError."""
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        found = from_person.validate_json(message.get("text") or "")
        if not isinstance(found, Wanted):
            raise ValueError("say first what you want to run")
        if any("\0" in word for word in (found.process, *found.command)):
            raise ValueError("no word has such a character: neither a process nor PostgreSQL takes it")
        return found

    async def heard(self) -> Typed | Eof | Sized | Took | Over | None:
        message = await self.socket.receive()
        if message["type"] == "websocket.disconnect":
            stops = message.get("code") == _STOPS
            return Over(why=Why.LOST, sentence="the bot stops") if stops else None
        if (data := message.get("bytes")) is not None:
            return Typed(data=data)
        found = from_person.validate_json(message.get("text") or "")
        if isinstance(found, Wanted):
            raise ValueError("one command at a time")
        return found

    async def tell(self, what: Began | Printed | Took) -> None:
        try:
            if isinstance(what, Printed):
                await self.socket.send_bytes(packed(what))
            else:
                await self.socket.send_text(what.model_dump_json())
        except (WebSocketDisconnect, RuntimeError):
            pass  # they have gone, which is heard

    async def over(self, over: Over) -> None:
        """Say how it ended, and close."""
        try:
            await self.socket.send_text(over.model_dump_json())
            await self.socket.close()
        except (WebSocketDisconnect, RuntimeError):
            pass


def _missing(serves: Serves) -> str:
    """Why nothing can be run there; empty where it can."""
    if serves.release is None:
        return f"nothing is live in {serves.environment.name}: deploy something first"
    if serves.environment.asleep:
        return f"{serves.environment.name} is asleep: visit it, or wake it, and come again"
    if serves.release.settings.get("target") == "swarm":
        return "it runs on a Swarm, whose nodes have the containers: ask one of them, by docker exec"
    if serves.worker is None:
        return "nobody knows which worker has its containers"
    return ""
