"""Reviews of a pull request, and releases."""

from tests.github.access import Refusal
from tests.github.api.pulls import ONE, pull_of
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import Release
from tests.github.shapes import reviews

routes = Routes()


@routes.on("GET", ONE + "/reviews", "pull_requests")
async def listing(call: Call) -> Answer:
    pull = pull_of(call)
    found = [one for one in call.world.reviews.values() if one.pull is pull]
    return call.listing(found, reviews.review)


@routes.on("GET", ONE + "/reviews/{review}", "pull_requests")
async def one(call: Call) -> Answer:
    pull, found = pull_of(call), call.world.reviews.get(call.number("review"))
    if found is None or found.pull is not pull:
        raise Refusal(404, "Not Found")
    return Answer(reviews.review(call.world, found))


def _releases(call: Call) -> list[Release]:
    """Newest first."""
    found = [one for one in call.world.releases.values() if one.repository is call.repository]
    return found[::-1]


@routes.on("GET", REPO + "/releases", "contents")
async def releases(call: Call) -> Answer:
    return call.listing(_releases(call), reviews.release)


@routes.on("GET", REPO + "/releases/latest", "contents")
async def latest(call: Call) -> Answer:
    for found in _releases(call):
        if not found.prerelease:
            return Answer(reviews.release(call.world, found))
    raise Refusal(404, "Not Found")


@routes.on("GET", REPO + "/releases/tags/{tag*}", "contents")
async def by_tag(call: Call) -> Answer:
    for found in _releases(call):
        if found.tag == call.params["tag"]:
            return Answer(reviews.release(call.world, found))
    raise Refusal(404, "Not Found")
