"""What containers use

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    numbers = ("memory", "memory_limit", "received", "sent")
    op.create_table(
        "usage",
        sa.Column("environment_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("container", sa.String(), primary_key=True),
        sa.Column("span", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
        sa.Column("process", sa.String(), nullable=False),
        sa.Column("release_id", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("cpu", sa.Float(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in numbers),
        sa.Column("restarts", sa.Integer(), nullable=False),
    )
    op.create_index("usage_by_time", "usage", ["span", "at"])
