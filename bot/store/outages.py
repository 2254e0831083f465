"""What a store that is away looks like, in SQLAlchemy's, psycopg's and SQLite's words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bot.store.database import Store
from config import outages
from config.errors import ConfigError
from config.outages import Outside, Waits, answered, cause

P = ParamSpec("P")
T = TypeVar("T")

_CONNECT = 5  # seconds for a database to let us in
# Classes and states of https://www.postgresql.org/docs/current/errcodes-appendix.html: connection lost, no
# resources, an operator's doing, the system's fault; whoever is not the primary any more; and a transaction
# that stood in another one's way, which whoever asked is to try again.
_AWAY = ("08", "53", "57", "58", "25006", "40001", "40P01")
# https://www.sqlite.org/rescode.html, with what is derived of them
_SQLITE = ("SQLITE_BUSY", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")
# Of libpq and of PostgreSQL, which send no code with it, when it will not have us whoever waits.
_REFUSED = (
    "authentication", "no password supplied", "pg_hba.conf", "does not exist", "not permitted to log in",
    "permission denied", "certificate", "does not support SSL", "invalid",
)  # fmt: skip
_SHAPE = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, with special characters as %XX"


class StoreDown(Outside):
    """The store does not answer now. Its text says why."""


def away(error: BaseException) -> str:
    """Why the store does not do what was asked, where it is away; empty where it is another error."""
    if isinstance(error, PoolTimeout | DisconnectionError | PendingRollbackError):
        return _first_line(error)
    if not isinstance(error, DBAPIError):
        return ""
    orig = error.orig
    state, sqlite = getattr(orig, "sqlstate", None), getattr(orig, "sqlite_errorname", None)
    if sqlite is not None:
        known = sqlite.startswith(_SQLITE)
    elif state is not None:
        known = state.startswith(_AWAY)
    else:  # without the database's word: psycopg could not ask, or got no answer
        known = isinstance(error, OperationalError | InterfaceError)
    return _first_line(orig or error) if known or error.connection_invalidated else ""


def why(error: BaseException) -> str:
    """As `config.outages.cause`, where the error may be the store's too."""
    return cause(error, away)


def told(logger: Any, event: str, error: BaseException, **fields: Any) -> None:
    """As `config.outages.told`, where the error may be the store's too."""
    outages.told(logger, event, error, why, **fields)


@contextmanager
def named() -> Iterator[None]:
    """A store that is away is told as StoreDown, to whoever knows no database."""
    try:
        yield
    except SQLAlchemyError as error:
        if why := away(error):
            raise StoreDown(f"the store does not answer: {why}") from error
        raise


def naming(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """`work`, but a store that is away is told as StoreDown."""

    async def told(*args: P.args, **kwargs: P.kwargs) -> T:
        with named():
            return await work(*args, **kwargs)

    return told


@asynccontextmanager
async def awaited(url: str, waits: Waits) -> AsyncIterator[Store]:
    """The store at `url`, as soon as it is there. Raises ConfigError if it will not have us."""
    try:
        known = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise ConfigError(f"DATABASE_URL: cannot be read: it should be {_SHAPE}") from None
    if not known.get_backend_name().startswith("postgres"):
        async with Store.opened(url) as store:
            yield store
        return
    url = known.update_query_dict({"connect_timeout": str(_CONNECT), **known.query}).render_as_string(False)
    async with AsyncExitStack() as stack:

        async def opened() -> Store:
            await _knock(known)
            return await stack.enter_async_context(Store.opened(url))

        yield await answered(waits, opened, _still_away)


async def _knock(url: URL) -> None:
    """Raises StoreDown where nobody listens, without a thread that waits for it: nothing could end that."""
    if not url.host or "," in url.host:
        return
    port = url.port or 5432
    try:
        async with asyncio.timeout(_CONNECT):
            _, writer = await asyncio.open_connection(url.host, port)
        writer.close()
    except TimeoutError:
        raise StoreDown(f"PostgreSQL {url.host}:{port}: no answer in {_CONNECT} s") from None
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
        why = "connection refused" if refused else error.strerror or error
        raise StoreDown(f"PostgreSQL {url.host}:{port}: {why}") from None


def _still_away(error: Exception) -> str:
    """Why the store could not be opened, where it is worth waiting for."""
    if isinstance(error, ConfigError):
        found = away(error.__cause__) if error.__cause__ is not None else ""
        return "" if any(word in str(error) for word in _REFUSED) else found
    return str(error) if isinstance(error, StoreDown) else ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
