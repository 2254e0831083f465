"""The App by its JWT: itself, its installations, their tokens, its hook's deliveries."""

from tests.github.access import LEVELS, Refusal
from tests.github.api.hooks import deliveries_of, delivery_of
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import Installation
from tests.github.shapes import apps, repositories

routes = Routes()
APP = ("app",)
INSTALLATION = "/app/installations/{installation}"


def installation_of(call: Call) -> Installation:
    found = call.world.installations.get(call.number("installation"))
    if found is None:
        raise Refusal(404, "Not Found")
    return found


@routes.on("GET", "/app", who=APP)
async def app(call: Call) -> Answer:
    count = len(call.world.installations)
    return Answer(apps.app(call.world) | {"installations_count": count})


@routes.on("GET", "/app/hook/config", who=APP)
async def hook_config(call: Call) -> Answer:
    return Answer(apps.hook_config(call.world.app.hook))


@routes.on("GET", REPO + "/installation", who=APP)
async def repository_installation(call: Call) -> Answer:
    found = call.world.installation_of(call.repository)
    if found is None:
        raise Refusal(404, "Not Found")
    return Answer(apps.installation(call.world, found))


@routes.on("GET", "/app/installations", who=APP)
async def installations(call: Call) -> Answer:
    return call.listing(list(call.world.installations.values()), apps.installation)


@routes.on("GET", INSTALLATION, who=APP)
async def installation(call: Call) -> Answer:
    return Answer(apps.installation(call.world, installation_of(call)))


@routes.on("POST", INSTALLATION + "/access_tokens", who=APP)
async def access_token(call: Call) -> Answer:
    one = installation_of(call)
    if one.suspended_at:
        raise Refusal(403, "This installation has been suspended")
    token = call.world.new_token(one, _permissions(call, one), _repositories(call, one))
    return Answer(apps.installation_token(call.world, token), 201)


def _permissions(call: Call, one: Installation) -> dict[str, str]:
    asked: dict[str, str] = call.field("permissions", dict, one.permissions)
    for name, level in asked.items():
        if level not in LEVELS or LEVELS.index(level) > LEVELS.index(one.permissions.get(name, "none")):
            raise Refusal(422, "The permissions requested are not granted to this installation.")
    return dict(asked) | {"metadata": "read"}


def _repositories(call: Call, one: Installation) -> frozenset[int] | None:
    names: list[str] = call.field("repositories", list, [])
    numbers: list[int] = call.field("repository_ids", list, [])
    if not names and not numbers:
        return None
    reachable = {number: call.world.repositories[number] for number in one.repositories}
    by_name = {repository.name.casefold(): number for number, repository in reachable.items()}
    wanted = {by_name.get(str(name).casefold(), 0) for name in names} | set(numbers)
    if not wanted <= one.repositories:
        raise Refusal(
            422,
            "There is at least one repository that does not exist or is not accessible to the parent "
            "installation.",
        )
    return frozenset(wanted)


@routes.on("GET", "/installation/repositories", who=("installation",))
async def installation_repositories(call: Call) -> Answer:
    token = call.principal.token
    found = [one for one in call.world.repositories.values() if token and token.reaches(one)]
    shown, headers = call.page(found)
    shapes = [repositories.repository(call.world, one) for one in shown]
    body = {"total_count": len(found), "repository_selection": "selected", "repositories": shapes}
    return Answer(body, headers=headers)


@routes.on("GET", "/app/hook/deliveries", who=APP)
async def deliveries(call: Call) -> Answer:
    return deliveries_of(call, call.world.app.hook)


@routes.on("GET", "/app/hook/deliveries/{delivery}", who=APP)
async def delivery(call: Call) -> Answer:
    return Answer(apps.delivery(delivery_of(call, call.world.app.hook)))


@routes.on("POST", "/app/hook/deliveries/{delivery}/attempts", who=APP)
async def attempt(call: Call) -> Answer:
    call.world.post.again(delivery_of(call, call.world.app.hook))
    return Answer({}, 202)
