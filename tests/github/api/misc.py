"""Who am I, how much may I still ask, what is this server."""

from tests.github.api.routing import Answer, Call, Routes
from tests.github.shapes import accounts, repositories

routes = Routes()
ANYONE = ("user", "installation", "app", "nobody")


@routes.on("GET", "/user", who=("user",))
async def user(call: Call) -> Answer:
    return Answer(accounts.myself(call.world, call.principal.actor))


@routes.on("GET", "/user/repos", who=("user",))
async def user_repositories(call: Call) -> Answer:
    me = call.principal.actor
    found = [
        one
        for one in call.world.repositories.values()
        if one.owner is me or me.login.casefold() in one.collaborators
    ]
    return call.listing(found, repositories.repository)


@routes.on("GET", "/rate_limit", who=ANYONE)
async def rate_limit(call: Call) -> Answer:
    world = call.world
    used = world.used[call.principal.name]
    core = {
        "limit": world.rate_limit,
        "used": used,
        "remaining": max(world.rate_limit - used, 0),
        "reset": int(world.started.timestamp()) + 3600,
    }
    return Answer({"resources": {"core": core, "search": core}, "rate": core})


@routes.on("GET", "/meta", who=ANYONE)
async def meta(_: Call) -> Answer:
    local = ["127.0.0.1/32"]
    return Answer({"verifiable_password_authentication": False, "hooks": local, "git": local})
