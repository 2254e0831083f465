"""Who is told beside GitHub: channels, webhooks and log drains, how they do, and a test of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlmodel import select
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bot.reports.lanes import Lane, named
from bot.store.database import Store
from bot.store.tables import OutgoingState, Repository
from bot.web import receivers
from bot.web.api.channels import ChannelsApi
from bot.web.api.operation import Call
from bot.web.api.rows import repository
from bot.web.api.webhooks import WebhooksApi
from bot.web.outcomes import OutgoingShown
from bot.web.pages import forms
from bot.web.pages.acts import key_of, signed_in, told_at
from bot.web.pages.place import Wrong
from bot.web.pages.render import Pages
from config.log_drains import address
from config.settings import Settings

ALL, ONE = "/notifications", "/repositories/{owner}/{name}/notifications"
_MOST = 100

Does = Callable[[Call], Awaitable[OutgoingShown]]


@dataclass(frozen=True)
class NotificationsPage:
    """The routes: of the instance for its administrators, of a repository for that one's."""

    pages: Pages
    store: Store
    settings: Settings
    channels: ChannelsApi
    webhooks: WebhooksApi

    def routes(self) -> list[Route]:
        found = []
        for at, test in ((ALL, self.channels.test_instances), (ONE, self.channels.test)):
            hook = f"{at}/webhooks/{{id:int}}"
            found += [
                Route(at, self.page),
                Route(f"{at}/channels/{{channel}}/test", self._doing(test), methods=["POST"]),
                Route(f"{hook}/test", self._doing(self.webhooks.test), methods=["POST"]),
                Route(
                    f"{hook}/deliveries/{{delivery:int}}/redeliver",
                    self._doing(self.webhooks.again),
                    methods=["POST"],
                ),
            ]
        return found

    async def page(self, request: Request) -> Response:
        return await self._shown(request)

    def _doing(self, does: Does) -> Callable[[Request], Awaitable[Response]]:
        """What one button does, as the API does it; the page says what came of it."""

        async def done(request: Request) -> Response:
            fields = await forms.read(request)
            signed_in(request)
            try:
                outcome = await does(Call(request, None, None, key_of(fields)))
            except HTTPException as error:
                return await self._shown(request, told_at(request, fields, error))
            return await self._shown(request, said=came_of(fields.get("form", ""), outcome))

        return done

    async def _shown(self, request: Request, wrong: Wrong | None = None, said: str = "") -> Response:
        call = Call(request, None, None, "")
        async with self.store.reading() as session:
            here = "owner" in request.path_params
            owner = await repository(session, request.path_params) if here else None
        channels = await (self.channels.listed(call) if owner else self.channels.instances(call))
        hooks = await self.webhooks.listed(call)
        lanes = {
            ("channel", one.name): Lane(
                repository_id=owner.id if owner and not one.instance else 0, channel=one.name
            )
            for one in channels
        } | {("webhook", hook.id): Lane(webhook=hook.id) for hook in hooks}
        async with self.store.reading() as session:
            standing = await receivers.standings(session, lanes.values())
            drains = await receivers.drains(session, owner.id if owner else None)
            others = [] if owner else (await session.exec(select(Repository).limit(1000))).all()
        nothing = receivers.Standing()
        values: dict[str, Any] = {
            "owner": owner,
            "at": f"/repositories/{owner.full_name}/notifications" if owner else ALL,
            "channels": [(one, standing.get(str(lanes["channel", one.name]), nothing)) for one in channels],
            "hooks": [(one, standing.get(str(lanes["webhook", one.id]), nothing)) for one in hooks],
            "drains": drains,
            "own_drain": address(self.settings.log_drain).shown if self.settings.log_drain else "",
            "others": [one for one in others if named(one.channels)][:_MOST],
            "said": said,
        }
        status = wrong.status if wrong else 200
        return self.pages.shown(request, "notifications", status, wrong=wrong, **values)


def came_of(what: str, outcome: OutgoingShown) -> str:
    """Pure: what somebody is told who tried something."""
    if outcome.state is OutgoingState.SENT:
        return f"{what}: it was taken" + (f", with {outcome.status}" if outcome.status else "")
    if outcome.state is OutgoingState.PENDING:
        return f"{what}: it is on its way, and this page will say what comes of it"
    return f"{what}: {outcome.reason or 'it was not taken'}"
