"""Backups of services: what each service's file says of them, and those that are whole

Revision ID: 0019
Revises: 0018
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("services", sa.Column("backup", sa.JSON(), nullable=True))
    op.add_column("services", sa.Column("backup_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("services", sa.Column("backup_trouble", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "backups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False, unique=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("dumped", sa.BigInteger(), nullable=False),
        sa.Column("restore", sa.JSON(), nullable=True),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("backups_of", "backups", ["repository_id", "environment", "service", "created_at"])
