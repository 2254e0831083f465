"""Who is next in a pool: how many needs are unmet, the rank and the turn of a job

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What waits, and what a bot of the version before writes yet, has not been counted (-1), so that nothing
    # starts too early: whoever leads counts it (bot/jobs/needs.py).
    for name, kind, default in (
        ("unmet", sa.Integer(), "-1"),
        ("rank", sa.Integer(), "0"),
        ("turn", sa.BigInteger(), "0"),
    ):
        op.add_column("jobs", sa.Column(name, kind, nullable=False, server_default=default))
    with op.batch_alter_table("jobs") as jobs:
        jobs.create_index("jobs_ready", ["state", "unmet"])
        jobs.create_index("jobs_next", ["state", "pool", "turn", "run_id"])
        jobs.create_index("jobs_in_line", ["pool", "repository_id", "state", "rank", "turn"])
        jobs.create_index("jobs_offered", ["pool", "state", "offered_at"])
