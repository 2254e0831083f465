"""Organisations: where the App is installed, and who belongs to them."""

from tests.github.access import Refusal
from tests.github.api.routing import Answer, Call, Routes
from tests.github.shapes import apps

routes = Routes()


@routes.on("GET", "/orgs/{org}/installation", who=("app",))
async def installation(call: Call) -> Answer:
    for one in call.world.installations.values():
        if one.account.login.casefold() == call.params["org"].casefold():
            return Answer(apps.installation(call.world, one))
    raise Refusal(404, "Not Found")


@routes.on("GET", "/orgs/{org}/members/{username}")
async def member(call: Call) -> Answer:
    """An installation with the permission sees concealed members too."""
    token, org = call.principal.token, call.params["org"].casefold()
    if token is not None and (
        token.installation.account.login.casefold() != org or token.permissions.get("members") is None
    ):
        raise Refusal(403, "Resource not accessible by integration")
    if call.params["username"].casefold() not in call.world.members[org]:
        raise Refusal(404, "User does not exist or is not a member of the organization")
    return Answer(None, 204)
