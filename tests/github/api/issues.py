"""Issues: those that are pull requests too, and those that are not."""

from tests.github.access import Refusal
from tests.github.announce import issue_changed
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import Issue, Pull
from tests.github.shapes import pulls

routes = Routes()


def issue_of(call: Call) -> Pull | Issue:
    number = call.number("number")
    found = call.repository.pulls.get(number) or call.repository.issues.get(number)
    if found is None:
        raise Refusal(404, "Not Found")
    return found


@routes.on("GET", REPO + "/issues/{number}", "issues", "pull_requests")
async def one(call: Call) -> Answer:
    return Answer(pulls.issue(call.world, issue_of(call)))


@routes.on("POST", REPO + "/issues", "issues", role="read")
async def create(call: Call) -> Answer:
    world, repository, now = call.world, call.repository, call.world.now()
    title, body = call.required("title", str), call.field("body", str, "") or None
    async with world.locks[repository.id]:
        number = repository.next_number()
        user = call.principal.actor
        issue = Issue(next(world.ids), number, repository, user, title, body, now, now)
        repository.issues[number] = issue
    issue_changed(world, issue, "opened", user)
    return Answer(pulls.issue(world, issue), 201)
