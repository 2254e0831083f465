"""Commit statuses, deployments and their statuses."""

from tests.github.model import Deployment, DeploymentStatus, Json, Repository, Status, node_id
from tests.github.shapes.accounts import account, stamp
from tests.github.shapes.apps import app
from tests.github.shapes.repositories import api, repository
from tests.github.world import World


def simple_status(world: World, one: Status) -> Json:
    return {
        "id": one.id,
        "node_id": node_id("StatusContext", one.id),
        "url": f"{api(world, one.repository)}/statuses/{one.sha}",
        "avatar_url": f"{world.url}/avatars/u/{one.creator.id}?v=4",
        "state": one.state,
        "context": one.context,
        "description": one.description,
        "target_url": one.target_url,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
    }


def status(world: World, one: Status) -> Json:
    return {**simple_status(world, one), "creator": account(world, one.creator)}


def combined_state(newest: list[Status]) -> str:
    """One state for the newest status of each context, as GitHub combines them."""
    states = {one.state for one in newest}
    if states & {"failure", "error"}:
        return "failure"
    return "pending" if "pending" in states or not states else "success"


def combined_status(world: World, one: Repository, sha: str, newest: list[Status], total: int) -> Json:
    """`newest` is the page of them to show."""
    base = api(world, one)
    return {
        "state": combined_state(newest),
        "statuses": [simple_status(world, status) for status in newest],
        "sha": sha,
        "total_count": total,
        "repository": repository(world, one),
        "commit_url": f"{base}/commits/{sha}",
        "url": f"{base}/commits/{sha}/status",
    }


def deployment(world: World, one: Deployment) -> Json:
    base = f"{api(world, one.repository)}/deployments/{one.id}"
    changed = one.statuses[-1].created_at if one.statuses else one.created_at
    return {
        "id": one.id,
        "node_id": node_id("Deployment", one.id),
        "url": base,
        "statuses_url": f"{base}/statuses",
        "repository_url": api(world, one.repository),
        "sha": one.sha,
        "ref": one.ref,
        "task": one.task,
        "payload": one.payload,
        "environment": one.environment,
        "original_environment": one.environment,
        "description": one.description,
        "creator": account(world, one.creator),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(changed),
        "transient_environment": one.transient,
        "production_environment": one.production,
        "performed_via_github_app": app(world) if one.by_app else None,
    }


def deployment_status(world: World, on: Deployment, one: DeploymentStatus) -> Json:
    base = f"{api(world, on.repository)}/deployments/{on.id}"
    return {
        "id": one.id,
        "node_id": node_id("DeploymentStatus", one.id),
        "url": f"{base}/statuses/{one.id}",
        "deployment_url": base,
        "repository_url": api(world, on.repository),
        "state": one.state,
        "description": one.description,
        "environment": one.environment,
        "target_url": one.log_url,
        "log_url": one.log_url,
        "environment_url": one.environment_url,
        "creator": account(world, one.creator),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "performed_via_github_app": app(world) if on.by_app else None,
    }


def environment(world: World, one: Repository, name: str, first: Deployment) -> Json:
    return {
        "id": first.id,
        "node_id": node_id("Environment", first.id),
        "name": name,
        "url": f"{api(world, one)}/environments/{name}",
        "html_url": f"{world.url}/{one.full_name}/deployments/activity_log?environments_filter={name}",
        "created_at": stamp(first.created_at),
        "updated_at": stamp(first.created_at),
    }
