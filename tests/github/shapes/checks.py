"""Check runs and the suites that hold them: the App's own, and another app's, a CI's."""

from collections.abc import Sequence

from tests.github.model import CheckRun, Json, Repository, node_id
from tests.github.shapes.accounts import account, maybe, stamp
from tests.github.shapes.apps import app
from tests.github.shapes.repositories import api
from tests.github.world import World

CI = "ci"
PERMISSIONS = {"checks": "write", "metadata": "read"}


def ci(world: World) -> Json:
    """The app that reports the check runs."""
    owner = world.account("ci-owner")
    return {
        "id": owner.id,
        "slug": CI,
        "client_id": f"Iv1.{owner.id:016x}",
        "node_id": node_id("Integration", owner.id),
        "owner": account(world, owner),
        "name": "CI",
        "description": "",
        "external_url": "https://ci.example",
        "html_url": f"{world.url}/apps/{CI}",
        "created_at": stamp(owner.created_at),
        "updated_at": stamp(owner.created_at),
        "permissions": PERMISSIONS,
        "events": ["push"],
    }


def run(world: World, one: CheckRun) -> Json:
    base = f"{api(world, one.repository)}/check-runs/{one.id}"
    html = f"{world.url}/{one.repository.full_name}/runs/{one.id}"
    return {
        "id": one.id,
        "name": one.name,
        "node_id": node_id("CheckRun", one.id),
        "head_sha": one.sha,
        "external_id": one.external_id,
        "url": base,
        "html_url": html,
        "details_url": one.details_url or html,
        "status": "completed" if one.conclusion else one.status,
        "conclusion": one.conclusion,
        "started_at": stamp(one.started_at),
        "completed_at": maybe(one.completed_at),
        "output": {
            "title": one.title,
            "summary": one.summary,
            "text": None,
            "annotations_count": len(one.annotations),
            "annotations_url": f"{base}/annotations",
        },
        "check_suite": {"id": one.suite},
        "app": app(world) if one.app else ci(world),
        "pull_requests": pull_requests(world, one.repository, one.sha),
    }


def run_in_event(world: World, one: CheckRun, branch: str | None) -> Json:
    """The check run as a webhook has it: with its suite."""
    return {**run(world, one), "check_suite": suite(world, one.repository, one.sha, branch, [one])}


def suite(
    world: World, on: Repository, sha: str, branch: str | None, runs: Sequence[CheckRun], number: int = 0
) -> Json:
    """The suite of a commit; `number` is its id where it has no run yet."""
    pending = any(one.conclusion is None for one in runs)
    bad = any(one.conclusion not in ("success", "neutral", "skipped") for one in runs)
    identity = runs[0].suite if runs else number
    base = f"{api(world, on)}/check-suites/{identity}"
    made = runs[0].started_at if runs else world.now()
    ours = {**app(world), "events": ["push"]}  # GitHub's description of a suite's knows no merge_group
    return {
        "id": identity,
        "node_id": node_id("CheckSuite", identity),
        "head_branch": branch,
        "head_sha": sha,
        "status": "in_progress" if pending else "completed" if runs else "queued",
        "conclusion": None if pending or not runs else "failure" if bad else "success",
        "url": base,
        "before": None,
        "after": sha,
        "pull_requests": pull_requests(world, on, sha),
        "app": ci(world) if runs and not runs[0].app else ours,
        "created_at": stamp(made),
        "updated_at": stamp(made),
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{base}/check-runs",
    }


def pull_requests(world: World, on: Repository, sha: str) -> list[Json]:
    """The open ones with this head in the repository itself: GitHub leaves forks' out."""
    return [
        {
            "id": pull.id,
            "number": pull.number,
            "url": f"{api(world, on)}/pulls/{pull.number}",
            "head": _side(world, on, pull.head, pull.head_sha),
            "base": _side(world, on, pull.base, pull.base_sha),
        }
        for pull in on.pulls.values()
        if pull.state == "open" and pull.head_sha == sha and pull.head_repository is on
    ]


def _side(world: World, on: Repository, ref: str, sha: str) -> Json:
    return {"ref": ref, "sha": sha, "repo": {"id": on.id, "url": api(world, on), "name": on.name}}
