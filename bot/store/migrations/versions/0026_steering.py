"""What waits for an approval, locks that end, who set a secret, checks at GitHub

Revision ID: 0026
Revises: 0025
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("locks", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("secrets", sa.Column("set_by", sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("workers", sa.Column("leaving", sa.String(), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "wanted",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("pull_number", sa.Integer(), nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("denied_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "environment", "pull_number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "checks",
        sa.Column("repository_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("context", sa.String(), nullable=False),
        sa.Column("check_id", sa.BigInteger(), nullable=True),
        sa.Column("job", sa.String(), nullable=False),
        sa.Column("completed", sa.Boolean(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "sha", "context"),
    )
    op.create_index("ix_checks_created_at", "checks", ["created_at"])
