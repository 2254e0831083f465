"""Channels that are told what goes wrong: which there are, how they stand, and a test of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field
from sqlmodel import select
from starlette.exceptions import HTTPException

from bot.reports.lanes import TEST, Lane, named
from bot.reports.notifications import Item
from bot.store.database import Store
from bot.store.tables import Outgoing, Repository
from bot.web.api.models import Shown
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.rows import most, number_of, repository
from bot.web.api.sent import HistoryQuery, past, repeated
from bot.web.guard import changed
from bot.web.outcomes import OutgoingShown, newest, waited
from bot.web.rules import INSTANCE, Of, Rule, administers
from config.channels import EVENTS, Channel, Told
from config.settings import Settings
from workers.contract.messages import now

ALL, ONE = "/channels", "/repositories/{owner}/{name}/channels"


_PAUSE = timedelta(seconds=10)  # between two tests of the instance's channel by repositories


class ChannelShown(Shown):
    """A channel. Where it leads is shown to nobody."""

    name: str
    instance: Annotated[bool, Field(description="whether it is one of NOTIFY's")]
    secret: Annotated[str | None, Field(description="the name of the repository's secret that it leads to")]
    on: list[str]
    of: Annotated[list[str], Field(description="repositories, of one of NOTIFY's")]
    environments: Annotated[list[str], Field(description="globs; all but previews if empty")]
    last: Annotated[str, Field(description="how the last message went: sent, pending, given up; or empty")]
    reason: Annotated[str, Field(description="why it did not go well")]
    last_at: datetime | None


@dataclass(frozen=True)
class ChannelsApi:
    """The operations."""

    store: Store
    settings: Settings

    def operations(self) -> list[Operation]:
        everywhere = Rule(Of.INSTANCE, audited=True)
        here = administers(Of.REPOSITORY)
        shown, test = list[ChannelShown], "Send it a message, and say what came of it"
        return [
            *self._past(ALL, INSTANCE, everywhere),
            *self._past(ONE, here, here),
            Operation("GET", ALL, INSTANCE, "The channels of NOTIFY", self.instances, shown),
            Operation(
                "POST", f"{ALL}/{{channel}}/test", everywhere, test, self.test_instances, OutgoingShown
            ),
            Operation("GET", ONE, here, "The channels of its file", self.listed, shown),
            Operation("POST", f"{ONE}/{{channel}}/test", here, test, self.test, OutgoingShown),
        ]

    def _past(self, at: str, look: Rule, act: Rule) -> list[Operation]:
        sent, shown = f"{at}/{{channel}}/deliveries", list[OutgoingShown]
        return [
            Operation("GET", sent, look, "What it was sent, newest first", self.history, shown, HistoryQuery),
            Operation(
                "POST", f"{sent}/{{delivery:int}}/redeliver", act, "Send it that again", self.again,
                OutgoingShown, status=202, makes=True,
            ),
        ]  # fmt: skip

    async def instances(self, _call: Call) -> list[ChannelShown]:
        return [await self._shown(Lane(channel=one.name), None, one.on, one.of) for one in self._told]

    async def listed(self, call: Call) -> list[ChannelShown]:
        owner = await self._owner(call)
        shown = []
        for name, channel in named(owner.channels).items():
            own = owner.id if channel.secret else 0
            on = EVENTS if channel.on is None else channel.on
            lane = Lane(repository_id=own, channel=name)
            shown.append(await self._shown(lane, channel.secret, on, (), channel.environments))
        return shown

    async def test_instances(self, call: Call) -> OutgoingShown:
        return await self._test(call, self._instances(call), "")

    async def test(self, call: Call) -> OutgoingShown:
        """One of NOTIFY's, too, if the file names it: then it is told of this repository."""
        owner, name = await self._owner(call), call.path["channel"]
        channel = _channel(owner, name)
        known = {one.name for one in self._told if one.may_be_named(owner.full_name)}
        if channel.secret is None and name not in known:
            raise HTTPException(
                422, f"{name} has no `secret`, and NOTIFY has no channel of that name for this repository"
            )
        lane = Lane(repository_id=owner.id if channel.secret else 0, channel=name)
        if not lane.repository_id and await self._just_tested(lane):
            seconds = f"{_PAUSE.total_seconds():.0f} seconds"
            raise HTTPException(429, f"{name} is the instance's, and was tested just now: wait {seconds}")
        return await self._test(call, lane, owner.full_name)

    async def history(self, call: Call) -> Part:
        query: HistoryQuery = call.query
        limit, lane = most(query.limit), await self._lane(call)
        return past(await newest(self.store, lane, number_of(query.cursor), limit + 1), limit)

    async def again(self, call: Call) -> OutgoingShown:
        """The same as a row of its own: of what is owed with it the newest of a thing is told, as ever."""
        lane = await self._lane(call)
        async with self.store.transaction() as session:
            made = await repeated(session, lane, call.path["delivery"], f"the channel {lane.channel}")
        changed(call.request, f"sent {call.path['delivery']} to the channel {lane.channel} again")
        return OutgoingShown.model_validate(made)

    async def _lane(self, call: Call) -> Lane:
        """The channel's that the path names. Raises HTTPException."""
        if "owner" not in call.path:
            return self._instances(call)
        owner, name = await self._owner(call), call.path["channel"]
        if _channel(owner, name).secret is None:  # others' things are in it
            raise HTTPException(422, f"{name} is the instance's: its administrators see what it was sent")
        return Lane(repository_id=owner.id, channel=name)

    def _instances(self, call: Call) -> Lane:
        """Raises HTTPException."""
        name = call.path["channel"]
        if name not in {one.name for one in self._told}:
            raise HTTPException(404, f"NOTIFY has no channel {name}")
        return Lane(channel=name)

    async def _just_tested(self, lane: Lane) -> bool:
        """A test waits for nothing: whoever administers a repository could fill what others read."""
        newly = (Outgoing.lane == str(lane), Outgoing.event == TEST, Outgoing.created_at > now() - _PAUSE)
        async with self.store.reading() as session:
            return (await session.exec(select(Outgoing.id).where(*newly).limit(1))).first() is not None

    async def _test(self, call: Call, lane: Lane, full_name: str) -> OutgoingShown:
        changed(call.request, f"tested the channel {lane.channel}")
        body = Item(event=TEST, repository=full_name, name=lane.channel).model_dump_json()
        return await waited(self.store, Outgoing(lane=str(lane), event=TEST, body=body))

    async def _shown(
        self,
        lane: Lane,
        secret: str | None,
        on: Sequence[str],
        of: Sequence[str],
        environments: Sequence[str] = (),
    ) -> ChannelShown:
        last = next(iter(await newest(self.store, lane, None, 1)), None)
        return ChannelShown(
            name=lane.channel,
            instance=not lane.repository_id,
            secret=secret,
            on=list(on),
            of=list(of),
            environments=list(environments),
            last=last.state.value if last else "",
            reason=last.reason if last else "",
            last_at=last.created_at if last else None,
        )

    @property
    def _told(self) -> tuple[Told, ...]:
        return self.settings.channels

    async def _owner(self, call: Call) -> Repository:
        async with self.store.reading() as session:
            return await repository(session, call.path)


def _channel(owner: Repository, name: str) -> Channel:
    """The one of that name in its file. Raises HTTPException."""
    channel = named(owner.channels).get(name)
    if channel is None:
        raise HTTPException(
            404,
            f"{owner.full_name} has no channel {name}: what notifications.channels says counts from the "
            f"next push to {owner.default_branch} on",
        )
    return channel
