"""The REST API below /api/v3: one module for each family of endpoints, put together here."""

from tests.github.api import apps, comments, deployments, hooks, misc, pulls, repositories, statuses
from tests.github.api.routing import Route

ROUTES: tuple[Route, ...] = (
    *apps.routes,
    *comments.routes,
    *deployments.routes,
    *hooks.routes,
    *misc.routes,
    *pulls.routes,
    *statuses.routes,
    # Last, because refs with slashes in them match much.
    *repositories.routes,
)
