"""The numbers of runs and releases are never given twice, in SQLite too

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """PostgreSQL's sequences do so by themselves: https://www.sqlite.org/autoinc.html"""
    if op.get_bind().dialect.name == "sqlite":
        for name in ("runs", "releases"):
            with op.batch_alter_table(name, recreate="always", table_kwargs={"sqlite_autoincrement": True}):
                pass
