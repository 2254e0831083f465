"""What becomes of the App's installations and of the repositories themselves: which of them are worked on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gidgethub import sansio
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.decisions.events import repository as repositories
from bot.store.database import Store
from bot.store.tables import Repository

EVENTS = ("installation", "installation_repositories", "repository")
# Why a repository is inactive, for people: "ignored: acme/shop is …".
REMOVED = "not in an installation of the App"
SUSPENDED = "in a suspended installation of the App"


async def about_account(event: sansio.Event, store: Store) -> str | None:
    """Do what an event says of an installation or of a repository itself, in one transaction.

    Returns the reason for people, or None for all other events. Raises KeyError or TypeError on an odd
    payload.
    """
    action = event.data.get("action")
    if event.event == "installation":
        async with store.transaction() as session:
            return await _installation(session, str(action), event.data)
    if event.event == "installation_repositories":
        async with store.transaction() as session:
            return await _membership(session, event.data)
    if event.event == "repository" and action in repositories.ACTIONS:
        async with store.transaction() as session:
            return await repositories.changed(session, str(action), event.data)
    return None


async def _installation(session: AsyncSession, action: str, payload: dict[str, Any]) -> str:
    installation, account = payload["installation"]["id"], _account(payload)
    if action in ("created", "new_permissions_accepted"):
        named = payload.get("repositories") or ()
        await _joined(session, installation, named)
        await _back(session, installation, SUSPENDED)
        return f"installed for {account}: {_count(len(named))}" if named else f"noted for {account}: {action}"
    if action == "unsuspend":
        back = await _back(session, installation, SUSPENDED)
        return f"the installation of {account} is not suspended any more: {_count(back)}"
    if action in ("deleted", "suspend"):
        reason = SUSPENDED if action == "suspend" else REMOVED
        rows = await _of(session, installation)
        for row in rows:
            if not row.inactive or row.inactive == SUSPENDED:
                await repositories.stop(session, row, reason)
        word = "suspended" if action == "suspend" else "removed"
        return f"the App was {word} for {account}: {_count(len(rows))}"
    return "ignored: nothing is done about this event"


async def _membership(session: AsyncSession, payload: dict[str, Any]) -> str:
    """Repositories that were added to an installation or taken out of it."""
    added, removed = payload.get("repositories_added") or (), payload.get("repositories_removed") or ()
    await _joined(session, payload["installation"]["id"], added)
    for facts in removed:
        row = await session.get(Repository, facts["id"])
        mine = row is not None and row.installation_id in (None, payload["installation"]["id"])
        if row is not None and mine and row.inactive != repositories.DELETED:
            await repositories.stop(session, row, REMOVED)
    return f"noted for {_account(payload)}: {len(added)} added, {len(removed)} removed"


async def _joined(session: AsyncSession, installation: int, named: Iterable[dict[str, Any]]) -> None:
    """Keep the repositories that an installation has; what is archived or deleted stays so."""
    for facts in named:
        # These payloads have no default branch: the next event that has one corrects it.
        row = await session.get(Repository, facts["id"]) or Repository(
            id=facts["id"], full_name=facts["full_name"], default_branch="main"
        )
        row.full_name, row.private = facts["full_name"], bool(facts.get("private", True))
        row.installation_id = installation
        if row.inactive in (REMOVED, SUSPENDED):
            row.inactive = ""
        session.add(row)


async def _back(session: AsyncSession, installation: int, reason: str) -> int:
    """Make the repositories active again that `reason` kept from it; the heads' sweep catches up."""
    rows = [row for row in await _of(session, installation) if row.inactive == reason]
    for row in rows:
        row.inactive = ""
    return len(rows)


async def _of(session: AsyncSession, installation: int) -> list[Repository]:
    return list(
        (await session.exec(select(Repository).where(Repository.installation_id == installation))).all()
    )


def _account(payload: dict[str, Any]) -> str:
    return str((payload["installation"].get("account") or {}).get("login") or "an account")


def _count(number: int) -> str:
    return f"{number} repositor{'y' if number == 1 else 'ies'}"
