"""Alembic's entry: migrates the database whose URL `bot.store.database` gives, under a lock."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, text
from sqlmodel import SQLModel

import bot.store.tables  # noqa: F401 (fills the metadata)

_LOCK = 0x626C6B75  # PostgreSQL's advisory lock of whoever migrates


def run() -> None:
    url = context.config.attributes["url"]
    engine = create_engine(url, connect_args={"timeout": 30} if url.get_backend_name() == "sqlite" else {})
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        else:
            connection.execute(text("BEGIN IMMEDIATE"))
        context.configure(connection=connection, target_metadata=SQLModel.metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
