"""An App from its manifest: the code that GitHub's form gave becomes the App's keys, once."""

from tests.github.access import Refusal
from tests.github.api.misc import ANYONE
from tests.github.api.routing import Answer, Call, Routes
from tests.github.shapes import apps

routes = Routes()


@routes.on("POST", "/app-manifests/{code}/conversions", who=ANYONE)
async def convert(call: Call) -> Answer:
    made = call.world.codes.pop(call.params["code"], None)
    if made is None or made.expires_at <= call.world.now():
        raise Refusal(404, "Not Found")
    return Answer(apps.converted(call.world), 201)
