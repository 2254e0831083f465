"""Check runs of a commit, and those that the App writes. https://docs.github.com/rest/checks/runs"""

from tests.github.access import Refusal
from tests.github.api.repositories import REPO, commit_of
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import CheckRun
from tests.github.shapes import checks, repositories

routes = Routes()
STATUSES = ("queued", "in_progress", "completed")
CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out")
MOST_ANNOTATIONS = 50  # of one request
LONGEST = {"label": 20, "description": 40, "identifier": 20}  # of a button's


@routes.on("GET", REPO + "/commits/{ref*}/check-runs", "checks")
async def listing(call: Call) -> Answer:
    """The newest of each name of a suite, unless all are asked for."""
    sha = await commit_of(call, call.params["ref"])
    runs = [
        one
        for one in call.world.check_runs.values()
        if one.repository is call.repository and one.sha == sha
        if call.query.get("check_name") in (None, one.name)
        if call.query.get("status") in (None, "completed" if one.conclusion else one.status)
    ]
    if call.query.get("filter", "latest") == "latest":
        runs = list({(one.suite, one.name): one for one in runs}.values())
    found = sorted(runs, key=lambda one: one.id, reverse=True)
    shown, headers = call.page(found)
    shapes = [checks.run(call.world, one) for one in shown]
    return Answer({"total_count": len(found), "check_runs": shapes}, headers=headers)


@routes.on("GET", REPO + "/commits/{ref*}/check-suites", "checks")
async def suites(call: Call) -> Answer:
    """Each with its runs; the App's own is there too where it never begins it, as GitHub has it."""
    sha = await commit_of(call, call.params["ref"])
    runs = [
        one for one in call.world.check_runs.values() if one.repository is call.repository and one.sha == sha
    ]
    newest = {(one.suite, one.name): one for one in runs}.values()
    git = await call.repository.bare.commit(sha)
    commit = repositories.commit(call.world, call.repository, git)["commit"]
    about = {
        "repository": repositories.repository(call.world, call.repository),
        "head_commit": {
            "id": sha,
            "tree_id": commit["tree"]["sha"],
            "message": commit["message"],
            "timestamp": commit["author"]["date"],
            "author": {"name": commit["author"]["name"], "email": commit["author"]["email"]},
            "committer": {"name": commit["committer"]["name"], "email": commit["committer"]["email"]},
        },
    }
    known = dict.fromkeys(one.suite for one in newest)
    theirs = [[one for one in newest if one.suite == suite] for suite in known]
    if not any(one.app for one in newest):
        theirs.insert(0, [])
    found = [
        {**checks.suite(call.world, call.repository, sha, None, some, number), **about}
        for number, some in enumerate(theirs, start=1)
    ]
    shown, headers = call.page(found)
    return Answer({"total_count": len(found), "check_suites": shown}, headers=headers)


@routes.on("GET", REPO + "/check-runs/{run}", "checks")
async def one(call: Call) -> Answer:
    found: CheckRun | None = call.world.check_runs.get(call.number("run"))
    if found is None or found.repository is not call.repository:
        raise Refusal(404, "Not Found")
    return Answer(checks.run(call.world, found))


@routes.on("POST", REPO + "/check-runs", "checks", level="write")
async def create(call: Call) -> Answer:
    world, sha = call.world, call.required("head_sha", str)
    if call.principal.token is None:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    if await call.repository.bare.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    runs = [one for one in world.check_runs.values() if (one.repository, one.sha) == (call.repository, sha)]
    mine = [one for one in runs if one.app]
    suite = mine[0].suite if mine else next(world.ids)
    name, now = call.required("name", str), world.now()
    run = CheckRun(next(world.ids), call.repository, sha, name, None, suite, now, None, True, "queued")
    _moved(call, run)
    world.check_runs[run.id] = run
    return Answer(checks.run(world, run), 201)


@routes.on("PATCH", REPO + "/check-runs/{run}", "checks", level="write")
async def update(call: Call) -> Answer:
    run: CheckRun | None = call.world.check_runs.get(call.number("run"))
    if run is None or run.repository is not call.repository:
        raise Refusal(404, "Not Found")
    if call.principal.token is None or not run.app:
        raise Refusal(
            403, f"Invalid app_id `{call.world.app.id}` - check run can only be modified by the GitHub App"
        )
    _moved(call, run)
    return Answer(checks.run(call.world, run))


def _moved(call: Call, run: CheckRun) -> None:
    status = call.field("status", str, run.status, values=STATUSES)
    conclusion = call.field("conclusion", str, "", values=CONCLUSIONS)
    if status == "completed" and not conclusion:
        raise Refusal(422, 'Invalid request.\n\nNo subschema in "anyOf" matched.')
    output = call.field("output", dict, {})
    given = output.get("annotations") or []
    if len(given) > MOST_ANNOTATIONS:
        raise Refusal(422, "Invalid request.\n\nNo more than 50 items are allowed")
    actions = call.field("actions", list, run.actions)
    if any(len(one[key]) > most for one in actions for key, most in LONGEST.items()):
        raise Refusal(422, "Invalid request.\n\nA button's text is too long.")
    run.status, run.actions = status, actions
    run.conclusion = conclusion or None
    run.completed_at = call.world.now() if conclusion else None
    run.name = call.field("name", str, run.name)
    run.external_id = call.field("external_id", str, run.external_id)
    run.details_url = call.field("details_url", str, run.details_url)
    if output:
        run.title, run.summary = output["title"], output["summary"]
    run.annotations += given
