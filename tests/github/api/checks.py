"""Check runs of a commit."""

from tests.github.access import Refusal
from tests.github.api.repositories import REPO, commit_of
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import CheckRun
from tests.github.shapes import checks

routes = Routes()


@routes.on("GET", REPO + "/commits/{ref*}/check-runs", "checks")
async def listing(call: Call) -> Answer:
    """The newest of each name, unless all are asked for."""
    sha = await commit_of(call, call.params["ref"])
    runs = [
        one
        for one in call.world.check_runs.values()
        if one.repository is call.repository and one.sha == sha
        if call.query.get("check_name") in (None, one.name)
        if call.query.get("status") in (None, "completed" if one.conclusion else "in_progress")
    ]
    if call.query.get("filter", "latest") == "latest":
        runs = list({one.name: one for one in runs}.values())
    found = sorted(runs, key=lambda one: one.id, reverse=True)
    shown, headers = call.page(found)
    shapes = [checks.run(call.world, one) for one in shown]
    return Answer({"total_count": len(found), "check_runs": shapes}, headers=headers)


@routes.on("GET", REPO + "/check-runs/{run}", "checks")
async def one(call: Call) -> Answer:
    found: CheckRun | None = call.world.check_runs.get(call.number("run"))
    if found is None or found.repository is not call.repository:
        raise Refusal(404, "Not Found")
    return Answer(checks.run(call.world, found))
