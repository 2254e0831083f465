"""Alembic's entry, for `bot.store.versions`: migrates at a URL under a lock, or in a given transaction."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL
from sqlmodel import SQLModel

import bot.store.tables  # noqa: F401 (fills the metadata)
from bot.store import versions


def run() -> None:
    given = context.config.attributes
    if "connection" in given:
        _migrate(given["connection"])
    else:
        _alone(given["url"])


def _alone(url: URL) -> None:
    engine = create_engine(url, connect_args={"timeout": 30} if url.get_backend_name() == "sqlite" else {})
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({versions.LOCK})"))
            else:
                connection.execute(text("BEGIN IMMEDIATE"))
            versions.make_way(connection, url)
            _migrate(connection)
    finally:
        engine.dispose()


def _migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


run()
