"""What one does by a page: orders to an environment, held by the API's gates; and the end of a job.

What fails is told at the form that it was asked by.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bot.decisions import quiet
from bot.jobs import lifecycle
from bot.store.database import Store
from bot.store.tables import Environment, Job, Lock, Repository
from bot.web.access import TOO_LARGE
from bot.web.api.operation import checked
from bot.web.api.repositories import LockBody, lock, unlock
from bot.web.backups import BackupBody, Backups, RestoreBody
from bot.web.guard import changed
from bot.web.orders import Held, Orders
from bot.web.pages import forms
from bot.web.pages.place import PlacePage, Wrong
from bot.web.pages.render import person
from bot.web.places import found

# What a button says ▸ the order, and what the form's fields are in its words.
_ORDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "deploy": ("deploys", {}),
    "promote": ("promote", {}),
    "rollback": ("rollback", {}),
    "stop": ("stop", {}),
    "close": ("maintenance", {"on": True}),
    "open": ("maintenance", {"on": False}),
    "run": ("run", {}),
}
_FIELDS = {
    "deploy": {"pull", "why"},
    "promote": {"from", "why"},
    "rollback": {"release", "why"},
    "stop": {"why"},
    "close": {"text"},
    "run": {"task"},
}
_OURS = (403, 404)  # statuses of what no form can mend

Done = Callable[[dict[str, str], str], Awaitable[str]]


@dataclass(frozen=True)
class Acts:
    """The routes that change something."""

    store: Store
    orders: Orders
    backups: Backups
    place: PlacePage

    def routes(self) -> list[Route]:
        at = "/environments/{id:int}"
        named = {"wake": self.wake, "lock": self.lock, "unlock": self.unlock, "backup": self.backup}
        return [
            *(Route(f"{at}/{name}", does, methods=["POST"]) for name, does in named.items()),
            Route(f"{at}/restore", self.restore, methods=["POST"]),
            Route(f"{at}/{{act}}", self.order, methods=["POST"]),
            Route("/jobs/{id}/cancel", self.cancel, methods=["POST"]),
        ]

    async def order(self, request: Request) -> Response:
        """Deploy, promote, roll back, stop, close and open an environment; run a task of it."""
        act = request.path_params["act"]
        if act not in _ORDERS:
            raise HTTPException(404, "there is no such order")
        name, fixed = _ORDERS[act]

        async def ordered(fields: dict[str, str], who: str) -> str:
            told = {key: fields[key] for key in _FIELDS.get(act, ()) if fields.get(key, "").strip()}
            given = {**fixed, **told, **_number(told, "pull"), "actor": who}
            try:
                _, run = await self.orders.done(request, name, given, "page", key_of(fields))
            except Held as held:
                raise HTTPException(409, f"it is held by {held}") from None
            return _to(request, run)

        return await self._done(request, ordered)

    async def wake(self, request: Request) -> Response:
        """Start a preview that sleeps."""

        async def woken(_fields: dict[str, str], _who: str) -> str:
            async with self.store.reading() as session:
                environment = await found(session, Environment, request)
            await quiet.wake(self.store, environment.id or 0)
            changed(request, f"woke {environment.name}")
            return _to(request, None)

        return await self._done(request, woken)

    async def lock(self, request: Request) -> Response:
        """Let nobody else deploy there."""

        async def locked(fields: dict[str, str], who: str) -> str:
            async with self.store.transaction() as session:
                environment, owner = await _place(session, request)
                told = {"for": fields["for"]} if fields.get("for", "").strip() else {}
                why = fields.get("why", "")
                body = checked(LockBody, {"environment": environment.name, "actor": who, "why": why, **told})
                await lock(session, request, owner, body)
            return _to(request, None)

        return await self._done(request, locked)

    async def unlock(self, request: Request) -> Response:
        """Free a lock that holds this environment."""

        async def freed(fields: dict[str, str], _who: str) -> str:
            asked = int(given) if (given := fields.get("lock", "")).isdecimal() and len(given) < 10 else 0
            async with self.store.transaction() as session:
                environment, owner = await _place(session, request)
                row = await session.get(Lock, asked) if asked < TOO_LARGE else None
                here = row and row.repository_id == owner.id and row.environment in ("", environment.name)
                if row is None or not here:
                    raise HTTPException(409, "that lock is gone already")
                await unlock(session, request, owner, row)
            return _to(request, None)

        return await self._done(request, freed)

    async def backup(self, request: Request) -> Response:
        """Take a backup of a service now, or of all."""

        async def taken(fields: dict[str, str], who: str) -> str:
            told = {"service": fields["service"]} if fields.get("service") else {}
            body = checked(BackupBody, {**told, "actor": who})
            return _to(request, (await self.backups.taken(request, body, "page", key_of(fields))).run)

        return await self._done(request, taken)

    async def restore(self, request: Request) -> Response:
        """Put a backup back, once the environment's name was typed."""

        async def restored(fields: dict[str, str], who: str) -> str:
            told = {key: fields.get(key, "") for key in ("confirm", "why")}
            body = checked(RestoreBody, {**told, **_number(fields, "backup"), "actor": who})
            return _to(request, (await self.backups.restored(request, body, "page", key_of(fields))).run)

        return await self._done(request, restored)

    async def cancel(self, request: Request) -> Response:
        """End a job: at once if nobody has begun it, else its worker is told."""
        await forms.read(request)
        who = signed_in(request)
        async with self.store.transaction() as session:
            job = await session.get(Job, request.path_params["id"])
            if job is None:
                raise HTTPException(404, f"there is no job {request.path_params['id']}")
            await lifecycle.cancel(session, job, "cancelled", f"Cancelled by {who}")
            changed(request, f"cancelled {job.name}, job {job.id}")
        return RedirectResponse(f"/jobs/{job.id}", 303)

    async def _done(self, request: Request, does: Done) -> Response:
        """Go to where it leads, or show the page again with what is wrong at the form."""
        fields = await forms.read(request)
        who = signed_in(request)
        try:
            return RedirectResponse(await does(fields, who), 303)
        except HTTPException as error:
            return await self.place.shown(request, told_at(request, fields, error))


def told_at(request: Request, fields: dict[str, str], error: HTTPException) -> Wrong:
    """What is wrong, for the form that was sent. Raises the error again where no form can mend it."""
    if error.status_code in _OURS:
        raise error
    says = error.detail[:1].upper() + error.detail[1:].rstrip(".")
    return Wrong(request.url.path, fields.get("form", ""), says, error.status_code)


def signed_in(request: Request) -> str:
    """Who is signed in: nothing is changed here by whoever only has the token. Raises HTTPException."""
    who = person(request)
    if who is None:
        raise HTTPException(403, "sign in to do this, or use the API")
    return who.name


def key_of(fields: dict[str, str]) -> str:
    return fields.get("key", "")[:64] or uuid4().hex


def _to(request: Request, run: int | None) -> str:
    return f"/runs/{run}" if run else f"/environments/{request.path_params['id']}"


def _number(fields: dict[str, str], name: str) -> dict[str, int]:
    """What was typed as the number of something. Raises HTTPException."""
    given = fields.get(name, "").strip().removeprefix("#")
    if not given:
        return {}
    if not (given.isascii() and given.isdecimal() and len(given) <= 9):
        raise HTTPException(400, f"{given[:40]!r} is no number, such as 42")
    return {name: int(given)}


async def _place(session: AsyncSession, request: Request) -> tuple[Environment, Repository]:
    environment = await found(session, Environment, request)
    return environment, await session.get_one(Repository, environment.repository_id)
