"""The trust of the build that an image is of: the repository's own, its pull requests', or a fork's

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_JOBS = sa.table(
    "jobs", *(sa.column(name) for name in ("id", "run_id", "kind", "environment", "needs", "spec"))
)
_RUNS = sa.table("runs", *(sa.column(name) for name in ("id", "ref", "pull_number")))
_IMAGES = sa.table(
    "images", *(sa.column(name) for name in ("id", "job_id", "trust")), sa.column("fork", sa.Boolean())
)


def upgrade() -> None:
    op.add_column("images", sa.Column("trust", sa.String(), nullable=False, server_default=""))
    _judge()
    with op.batch_alter_table("images") as batch_op:
        batch_op.alter_column("trust", server_default=None)


def _judge() -> None:
    """What was built before has the trust that it would be built with now."""
    connection = op.get_bind()
    built = (
        sa.select(_IMAGES.c.id, _IMAGES.c.job_id, _IMAGES.c.fork, _JOBS.c.spec, _JOBS.c.run_id)
        .add_columns(_RUNS.c.ref, _RUNS.c.pull_number)
        .select_from(_IMAGES)
        .join(_JOBS, _JOBS.c.id == _IMAGES.c.job_id)
        .join(_RUNS, _RUNS.c.id == _JOBS.c.run_id)
        .where(
            sa.or_(_IMAGES.c.fork, _RUNS.c.ref.like("refs/pull/%"), _RUNS.c.ref.like("%/gh-readonly-queue/%"))
        )
    )
    for image in connection.execute(built).all():
        if image.fork:
            trust = f"fork-{image.pull_number}"
        elif image.ref.startswith("refs/pull/") and not _read(image.spec).get("preview"):
            trust = _of_head(connection, image)
        else:
            trust = "pulls"
        connection.execute(sa.update(_IMAGES).where(_IMAGES.c.id == image.id).values(trust=trust))


def _of_head(connection: sa.Connection, image: sa.Row[Any]) -> str:
    """A pull request's head was built for the named environment that its run deployed it to, if to any."""
    deploys = sa.select(_JOBS.c.environment, _JOBS.c.needs).where(
        _JOBS.c.run_id == image.run_id, _JOBS.c.kind == "deploy"
    )
    for environment, needs in connection.execute(deploys).all():
        if image.job_id in _read(needs) and not re.fullmatch(r"pr-\d+", environment or ""):
            return f"heads-{environment}-{image.ref.split('/')[2]}"
    return "pulls"


def _read(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
