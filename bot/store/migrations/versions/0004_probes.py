"""What a probe finds wrong in the stability window

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("containers", sa.Column("failing", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("containers") as batch_op:
        batch_op.alter_column("failing", server_default=None)
