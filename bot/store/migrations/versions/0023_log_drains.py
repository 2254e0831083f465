"""Log drains, and how far each is; TCP ports

Revision ID: 0023
Revises: 0022
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_drains",
        sa.Column("environment_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("scope", sa.String(), primary_key=True),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.String(), nullable=False),
        sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_table(
        "tcp_ports",
        sa.Column("environment_id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("process", sa.String(), primary_key=True),
        sa.Column("port", sa.Integer(), nullable=False, unique=True),
        sa.Column("address", sa.String(), nullable=False),
    )
