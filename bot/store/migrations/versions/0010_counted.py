"""What is counted for the metrics, and what a worker holds, is found by an index alone

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("told", sa.String(), nullable=False, server_default=""))
    with op.batch_alter_table("workers") as workers:
        workers.alter_column("told", server_default=None)
    for table in ("jobs", "reports"):
        op.drop_index(f"ix_{table}_state", table)
    op.create_index("jobs_counted", "jobs", ["state", "pool", "kind"])
    op.create_index("jobs_held", "jobs", ["worker", "state"])
    op.create_index("reports_owed", "reports", ["state", "kind", "created_at"])
    op.create_index("deliveries_in_line", "deliveries", ["state", "received_at"])
