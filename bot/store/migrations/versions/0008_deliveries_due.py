"""Which delivery of a repository is next, found by one index

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.create_index("deliveries_due", ["state", "repository_id", "received_at", "due_at"])
        deliveries.drop_index("ix_deliveries_state")
