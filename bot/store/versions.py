"""Which revision a database's tables have, and which ones this program knows.

Bots of two versions never work on one database at a time. Whoever brings it forward ends the connections of
the others; as those connect again they see the new revision, and their bots end with a sentence. So no
migration has to think of what the code before it would write.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine

from config.errors import ConfigError

FOLDER = Path(__file__).parent / "migrations"
# PostgreSQL's advisory lock: whoever migrates has it alone, whoever must not meet that shares it.
LOCK = 0x626C6B75
# How the connections of bots are named at PostgreSQL, before the revision that they know.
_NAMED = "blacktree "


class Refused(DisconnectionError, ConfigError):
    """The tables are not for this program, or not now: to whoever uses the store it does not answer."""


class Newer(Refused):
    """They are of a version after this one."""


class Busy(Refused):
    """Somebody works with them as they are."""


def migrate(revision: str = "head", **given: Any) -> None:
    """Bring the tables to a revision: at a `url` under a lock, or in the transaction of a `connection`."""
    from alembic import command  # 11 MB and 70 ms, which a start has no use for where nothing is to be done
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes.update(given)
    command.upgrade(config, revision)


def head() -> str:
    """The newest revision that this program knows."""
    return _known(FOLDER)[0]


def known(revision: str) -> bool:
    """Whether this program knows a revision."""
    return revision in _known(FOLDER)


def of(connection: Connection) -> str | None:
    """The revision of the tables there are; None where there are none."""
    if "alembic_version" not in inspect(connection).get_table_names():
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def newer(revision: str) -> str:
    """Why a revision is refused, for people."""
    return (
        f"its tables are of a newer Blacktree (revision {revision}; {version('blacktree')}, which this is, "
        f"knows up to {head()}): upgrade this one"
    )


def make_way(connection: Connection, url: URL) -> None:
    """Before the tables change: nobody of an older version works with them any more.

    Raises Newer and Busy. At PostgreSQL the migration's lock is held: who connects again waits for its end.
    """
    revision = of(connection)
    if revision is None or revision == head():
        return
    if not known(revision):
        raise Newer(newer(revision))
    if connection.dialect.name == "postgresql":
        connection.execute(_OTHERS, {"named": f"{_NAMED}%", "same": name()})
    elif url.database and led(url.database):
        raise Busy("a bot of an older version still runs on it: stop that one first")


_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND usename = current_user AND pid <> pg_backend_pid() "
    "AND application_name LIKE :named AND application_name <> :same"
)


def name() -> str:
    """What the connections of this version's bots are named at PostgreSQL."""
    return f"{_NAMED}{head()}"


def others(connection: Connection) -> int:
    """How many connections of bots a PostgreSQL has besides this one."""
    counted = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND application_name LIKE :named"
    )
    return int(connection.scalar(counted, {"named": f"{_NAMED}%"}) or 0)


def fence(engine: AsyncEngine, refused: Callable[[], None]) -> None:
    """Let no connection to PostgreSQL through while somebody migrates, or after a newer version did.

    Such a one raises Newer, once `refused` was called.
    """

    @event.listens_for(engine.sync_engine, "connect")
    def _look(connection: Any, _record: Any) -> None:
        try:
            admit(connection)
        except Newer:
            connection.close()
            refused()
            raise


def admit(connection: Any) -> None:
    """Let a driver's new connection wait for the end of a migration. Raises Newer where a newer one did that.

    Whoever connects to PostgreSQL past the engine calls this, and says `name` as its application_name.
    """
    cursor = connection.cursor()
    cursor.execute(f"SELECT pg_advisory_xact_lock_shared({LOCK})")
    cursor.execute("SELECT version_num FROM alembic_version")
    revision = cursor.fetchone()
    cursor.close()
    connection.rollback()
    if revision is not None and not known(revision[0]):
        raise Newer(newer(revision[0]))


def led(database: str) -> bool:
    """Whether a bot leads on a SQLite file."""
    descriptor = os.open(f"{database}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@cache
def _known(folder: Path) -> tuple[str, ...]:
    """Every revision in a folder of migrations, the newest first: files are named by theirs."""
    names = (file.name.partition("_")[0] for file in folder.glob("versions/[0-9]*.py"))
    return tuple(sorted(names, reverse=True))
