"""A repository's hooks, their deliveries, and trying those again."""

from collections.abc import Sequence
from typing import Literal, cast

from tests.github.access import Refusal
from tests.github.announce import ping
from tests.github.api.repositories import REPO
from tests.github.api.routing import Answer, Call, Routes
from tests.github.model import Delivery, Hook
from tests.github.shapes import apps

routes = Routes()
ALL = REPO + "/hooks"
ONE = ALL + "/{hook}"
CURSOR = "v1_"


def deliveries_of(call: Call, hook: Hook) -> Answer:
    """A page of a hook's deliveries, newest first, by cursor."""
    cursor = call.query.get("cursor", "")
    if cursor and not cursor.removeprefix(CURSOR).isdigit():
        raise Refusal(422, "Invalid cursor")
    wanted = {"success": True, "failure": False}.get(call.query.get("status", ""))
    found: Sequence[Delivery] = [
        one
        for one in sorted(call.world.post.deliveries, key=lambda one: one.id, reverse=True)
        if one.hook is hook
        if not cursor or one.id <= int(cursor.removeprefix(CURSOR))
        if wanted is None or one.ok == wanted
    ]
    size = call.size()
    more = found[size:]
    headers = {"Link": call.link("next", cursor=f"{CURSOR}{more[0].id}")} if more else {}
    return Answer([apps.delivery_item(one) for one in found[:size]], headers=headers)


def delivery_of(call: Call, hook: Hook) -> Delivery:
    number = call.number("delivery")
    for one in call.world.post.deliveries:
        if one.id == number and one.hook is hook:
            return one
    raise Refusal(404, "Not Found")


def hook_of(call: Call) -> Hook:
    hook = call.world.hooks.get(call.number("hook"))
    if hook is None or hook.repository is not call.repository:
        raise Refusal(404, "Not Found")
    return hook


@routes.on("GET", ALL, "repository_hooks", role="admin")
async def listing(call: Call) -> Answer:
    found = [hook for hook in call.world.hooks.values() if hook.repository is call.repository]
    return call.listing(found, apps.hook)


@routes.on("POST", ALL, "repository_hooks", role="admin")
async def create(call: Call) -> Answer:
    world, config = call.world, call.field("config", dict, {})
    url = config.get("url")
    if not isinstance(url, str) or not url:
        error = {"resource": "Hook", "code": "custom", "message": "Url cannot be blank"}
        raise Refusal(422, "Validation Failed", [error])
    content_type = config.get("content_type", "form")
    if content_type not in ("json", "form"):
        raise Refusal(422, "Validation Failed")
    own = [each for each in world.hooks.values() if each.repository is call.repository]
    if any(each.url == url for each in own):
        error = {"resource": "Hook", "code": "custom", "message": "Hook already exists on this repository"}
        raise Refusal(422, "Validation Failed", [error])
    hook = Hook(
        id=next(world.ids),
        url=url,
        secret=config.get("secret"),
        events=frozenset(call.field("events", list, ["push"])),
        created_at=world.now(),
        repository=call.repository,
        content_type=cast("Literal['json', 'form']", content_type),
        active=call.field("active", bool, True),
    )
    world.hooks[hook.id] = hook
    ping(world, call.repository, hook.id, call.principal.actor)
    return Answer(apps.hook(world, hook), 201)


@routes.on("GET", ONE, "repository_hooks", role="admin")
async def one(call: Call) -> Answer:
    return Answer(apps.hook(call.world, hook_of(call)))


@routes.on("PATCH", ONE, "repository_hooks", role="admin")
async def edit(call: Call) -> Answer:
    """A config that is given takes the place of the whole old one, its secret included."""
    hook, config = hook_of(call), call.field("config", dict, {})
    if config:
        if not config.get("url"):
            raise Refusal(422, "Validation Failed")
        hook.url, hook.secret = config["url"], config.get("secret")
        hook.content_type = config.get("content_type", "form")
    events = frozenset(call.field("events", list, sorted(hook.events)))
    added, removed = call.field("add_events", list, []), call.field("remove_events", list, [])
    hook.events = (events | frozenset(added)) - frozenset(removed)
    hook.active = call.field("active", bool, hook.active)
    return Answer(apps.hook(call.world, hook))


@routes.on("DELETE", ONE, "repository_hooks", role="admin")
async def delete(call: Call) -> Answer:
    del call.world.hooks[hook_of(call).id]
    return Answer(status=204)


@routes.on("POST", ONE + "/pings", "repository_hooks", level="read", role="admin")
async def ping_hook(call: Call) -> Answer:
    ping(call.world, call.repository, hook_of(call).id, call.principal.actor)
    return Answer(status=204)


@routes.on("GET", ONE + "/deliveries", "repository_hooks", role="admin")
async def deliveries(call: Call) -> Answer:
    return deliveries_of(call, hook_of(call))


@routes.on("GET", ONE + "/deliveries/{delivery}", "repository_hooks", role="admin")
async def delivery(call: Call) -> Answer:
    return Answer(apps.delivery(delivery_of(call, hook_of(call))))


@routes.on("POST", ONE + "/deliveries/{delivery}/attempts", "repository_hooks", role="admin")
async def attempt(call: Call) -> Answer:
    call.world.post.again(delivery_of(call, hook_of(call)))
    return Answer({}, 202)
