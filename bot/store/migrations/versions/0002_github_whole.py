"""GitHub, whole: commands, approvals, locks, the instance's own secrets, how far sweeps came

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commands",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("pull_number", sa.Integer(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_commands_comment_id"), ["comment_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_commands_run_id"), ["run_id"], unique=False)
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("pull_number", sa.Integer(), nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "sha", "actor"),
    )
    op.create_table(
        "locks",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("repository_id", sa.BigInteger(), nullable=False),
        sa.Column("environment", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("pull_number", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("repository_id", "environment"),
    )
    op.create_table(
        "sealed",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "marks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _add("repositories", sa.Column("inactive", sa.String(), nullable=False, server_default=""))
    _add("pulls", sa.Column("base_ref", sa.String(), nullable=False, server_default=""))
    _add("pulls", sa.Column("draft", sa.Boolean(), nullable=False, server_default=sa.false()))
    _add("pulls", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    _add("pulls", sa.Column("waiting", sa.String(), nullable=False, server_default=""))
    _add("runs", sa.Column("fork", sa.Boolean(), nullable=False, server_default=sa.false()))
    _add("images", sa.Column("fork", sa.Boolean(), nullable=False, server_default=sa.false()))


def _add(table: str, column: sa.Column[object]) -> None:
    """A new column; rows that are there get its default, which the program writes itself from now on."""
    op.add_column(table, column)
    if column.server_default is not None:
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column(column.name, server_default=None)
