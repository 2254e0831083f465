"""The REST API below /api/v3: one module for each family of endpoints, put together here."""

from tests.github.api import (
    apps,
    checks,
    comments,
    deployments,
    hooks,
    issues,
    manifests,
    misc,
    organizations,
    pulls,
    repositories,
    reviews,
    statuses,
)
from tests.github.api.routing import Route

ROUTES: tuple[Route, ...] = (
    *apps.routes,
    *checks.routes,
    *comments.routes,
    *deployments.routes,
    *hooks.routes,
    *issues.routes,
    *manifests.routes,
    *misc.routes,
    *organizations.routes,
    *pulls.routes,
    *reviews.routes,
    *statuses.routes,
    # Last, because refs with slashes in them match much.
    *repositories.routes,
)
