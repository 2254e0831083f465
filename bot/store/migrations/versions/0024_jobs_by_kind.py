"""The last builds and deploys of a repository are found without its others

Revision ID: 0024
Revises: 0023
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("jobs_by_kind", "jobs", ["repository_id", "kind", "ended_at"])
