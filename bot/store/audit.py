"""Who changed what, how, from where and why: one row for each."""

from __future__ import annotations

import getpass
from dataclasses import dataclass

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.database import Store
from bot.store.tables import AuditRow

_MOST = 500  # characters of a text

COMMENT, COMMAND_LINE = "a comment at GitHub", "the command line"
BUTTON = "a button at GitHub"

log = structlog.get_logger()


@dataclass(frozen=True)
class Changed:
    """Something that somebody changed. `why` is theirs, all else is ours."""

    who: str
    how: str
    what: str
    why: str = ""
    address: str = ""
    repository_id: int | None = None


def note(session: AsyncSession, changed: Changed) -> None:
    """Write it down together with what it changes."""
    told = vars(changed) | {"what": changed.what[:_MOST], "why": changed.why[:_MOST]}
    session.add(AuditRow(**told))
    if changed.how != COMMAND_LINE:  # whose output is its own
        log.info("changed", **{key: value for key, value in told.items() if value})


async def written(store: Store, changed: Changed) -> None:
    """Write it down alone."""
    async with store.transaction() as session:
        note(session, changed)


def here(what: str, repository_id: int | None = None) -> Changed:
    """What a command on this machine changes, by the user who runs it."""
    try:
        who = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        who = "somebody"
    return Changed(who, COMMAND_LINE, what, repository_id=repository_id)
