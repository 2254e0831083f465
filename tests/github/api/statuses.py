"""Commit statuses, and what they come to together."""

from tests.github.access import Refusal
from tests.github.announce import status_posted
from tests.github.api.repositories import REPO, commit_of
from tests.github.api.routing import Answer, Call, Routes
from tests.github.feed import StatusPosted
from tests.github.model import Repository, Status
from tests.github.shapes import reports
from tests.github.world import World

routes = Routes()
STATES = ("error", "failure", "pending", "success")
# https://docs.github.com/rest/commits/statuses
LONGEST_DESCRIPTION = 140
MOST_STATUSES = 1000


def newest(world: World, repository: Repository, sha: str) -> list[Status]:
    """The newest status of each context; contexts that differ in case only are one."""
    by_context = {one.context.casefold(): one for one in world.statuses[repository.id, sha]}
    return sorted(by_context.values(), key=lambda one: one.id, reverse=True)


def _invalid(message: str) -> Refusal:
    error = {"resource": "Status", "code": "custom", "message": message}
    return Refusal(422, "Validation Failed", [error])


@routes.on("POST", REPO + "/statuses/{sha}", "statuses")
async def create(call: Call) -> Answer:
    world, sha = call.world, call.params["sha"]
    state = call.required("state", str, values=STATES)
    description = call.field("description", str, "") or None
    target = call.field("target_url", str, "") or None
    context = call.field("context", str, "default")
    if await call.repository.bare.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    if description and len(description) > LONGEST_DESCRIPTION:
        raise _invalid(f"description is too long (maximum is {LONGEST_DESCRIPTION} characters)")
    if target and not target.startswith(("http://", "https://")):
        raise _invalid("Target URL must use http(s) scheme")
    posted = world.statuses[call.repository.id, sha]
    if sum(one.context.casefold() == context.casefold() for one in posted) >= MOST_STATUSES:
        raise _invalid("This SHA and context has reached the maximum number of statuses.")
    status = Status(
        id=next(world.ids),
        repository=call.repository,
        sha=sha,
        state=state,
        context=context,
        description=description,
        target_url=target,
        creator=call.principal.actor,
        created_at=world.now(),
    )
    posted.append(status)
    world.feed.publish(StatusPosted(status))
    if world.hooks_of(call.repository, "status"):
        await status_posted(world, status)
    return Answer(reports.status(world, status), 201)


@routes.on("GET", REPO + "/commits/{ref*}/statuses", "statuses")
async def listing(call: Call) -> Answer:
    sha = await commit_of(call, call.params["ref"])
    posted = call.world.statuses[call.repository.id, sha]
    return call.listing(posted[::-1], reports.status)


@routes.on("GET", REPO + "/commits/{ref*}/status", "statuses")
async def combined(call: Call) -> Answer:
    sha = await commit_of(call, call.params["ref"])
    all_of_them = newest(call.world, call.repository, sha)
    shown, headers = call.page(all_of_them)
    total = len(all_of_them)
    shape = reports.combined_status(call.world, call.repository, sha, list(shown), total)
    return Answer(shape | {"state": reports.combined_state(all_of_them)}, headers=headers)
