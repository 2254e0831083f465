"""Which workers did a repository's last builds and deploys, and by whose offer a job runs

Revision ID: 0014
Revises: 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("built_on", "deployed_on"):
        op.add_column("repositories", sa.Column(name, sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("carrier", sa.String(), nullable=True))
    op.add_column("jobs", sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True))
