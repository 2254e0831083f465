"""The processes of a release: their images, where they are reached, and whose each container is

Revision ID: 0017
Revises: 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("images", "further"):
        op.add_column("releases", sa.Column(name, sa.JSON(), nullable=True))
    op.add_column("containers", sa.Column("process", sa.String(), nullable=False, server_default="web"))
