"""Builds and deploys: secrets, what images were built from, containers, replicas, sleeping previews

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "secrets",
        sa.Column("repository_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("repository_id", "scope", "name"),
    )
    op.create_table(
        "containers",
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=False),
        sa.Column("out_of_memory", sa.Boolean(), nullable=False),
        sa.Column("health", sa.String(), nullable=False),
        sa.Column("last_lines", sa.Text(), nullable=False),
        sa.Column("restarted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker", "name"),
    )
    with op.batch_alter_table("containers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_containers_release_id"), ["release_id"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("attempt", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("fault", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("failed_step", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.PrimaryKeyConstraint("job_id", "attempt"),
    )
    added: tuple[tuple[str, sa.Column[Any]], ...] = (
        ("workers", sa.Column("problem", sa.String(), nullable=False, server_default="")),
        (
            "workers",
            sa.Column(
                "started_at",
                sa.DateTime(timezone=True),
                nullable=False,
                server_default="1970-01-01 00:00:00+00:00",
            ),
        ),
        ("images", sa.Column("key", sa.String(), nullable=False, server_default="")),
        ("images", sa.Column("worker", sa.String(), nullable=True)),
        ("images", sa.Column("layers", sa.Integer(), nullable=False, server_default="0")),
        ("images", sa.Column("cached", sa.Integer(), nullable=False, server_default="0")),
        ("images", sa.Column("reused", sa.String(), nullable=False, server_default="")),
        ("environments", sa.Column("asleep", sa.Boolean(), nullable=False, server_default=sa.false())),
        ("environments", sa.Column("maintenance", sa.String(), nullable=False, server_default="")),
        ("environments", sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True)),
        ("releases", sa.Column("addresses", sa.JSON(), nullable=False, server_default="[]")),
        ("releases", sa.Column("steady_at", sa.DateTime(timezone=True), nullable=True)),
        ("releases", sa.Column("actor", sa.String(), nullable=False, server_default="")),
        ("releases", sa.Column("why", sa.String(), nullable=False, server_default="")),
        ("releases", sa.Column("problem", sa.String(), nullable=False, server_default="")),
        ("releases", sa.Column("last_lines", sa.Text(), nullable=False, server_default="")),
    )
    for table, column in added:
        _add(table, column)
    releases = sa.table("releases", sa.column("address", sa.String()), sa.column("addresses", sa.JSON()))
    connection = op.get_bind()
    served = sa.select(releases.c.address).where(releases.c.address.is_not(None)).distinct()
    for address in connection.execute(served).scalars().all():
        here = sa.update(releases).where(releases.c.address == address)
        connection.execute(here.values(addresses=[address]))
    with op.batch_alter_table("releases") as batch_op:
        batch_op.drop_column("address")
    with op.batch_alter_table("images") as batch_op:
        batch_op.create_index("images_by_key", ["repository_id", "key"], unique=False)


def _add(table: str, column: sa.Column[Any]) -> None:
    """A new column; rows that are there get its default, which the program writes itself from now on."""
    op.add_column(table, column)
    if column.server_default is not None:
        with op.batch_alter_table(table) as batch_op:
            batch_op.alter_column(column.name, server_default=None)
