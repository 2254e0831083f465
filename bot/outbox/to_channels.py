"""What a channel is owed: one message for all of it, and not too many messages."""

from __future__ import annotations

from datetime import timedelta

import structlog

from bot.outbox import grouping
from bot.outbox.calling import Calls, Message
from bot.outbox.owed import Owed
from bot.outbox.posting import NotTaken
from bot.reports import notifications
from bot.reports.lanes import Lane, is_test, named
from bot.reports.notifications import Item
from bot.secrets.repositories import Secrets
from bot.store.tables import OutgoingState, Repository
from config.errors import ConfigError
from config.settings import Settings
from workers.contract.messages import now

log = structlog.get_logger()


class ToChannels:
    """Brings it by `calls`."""

    def __init__(self, owed: Owed, secrets: Secrets, settings: Settings, calls: Calls) -> None:
        self._owed = owed
        self._store = owed.store
        self._secrets = secrets
        self._settings = settings
        self._calls = calls

    async def bring(self, lane: Lane) -> bool:
        """A message, if one may go now. False if it was not taken."""
        key = str(lane)
        batch = grouping.batch(await self._owed.of(key, due=False), await self._owed.last(key), now())
        if batch.wait is not None:
            await self._owed.hold(key, now() + timedelta(seconds=batch.wait))
        if not batch.sent:
            return True
        try:
            await self._calls.bring(await self._message(lane, batch), guarded=lane.repository_id != 0)
        except (NotTaken, ConfigError) as error:
            log.warning("a channel took nothing", lane=key, error=str(error))
            if any(is_test(one.event) for one in batch.sent):  # somebody looks at what comes of it
                await self._owed.end(batch.sent, OutgoingState.GIVEN_UP, str(error))
                return True
            await self._owed.postpone(batch.sent, str(error))
            return False
        await self._owed.end(batch.sent, OutgoingState.SENT)
        await self._owed.end(batch.left_out, OutgoingState.LEFT_OUT, "what came after it says more")
        return True

    async def _message(self, lane: Lane, batch: grouping.Batch) -> Message:
        items = [Item.model_validate_json(one.body) for one in batch.sent]
        said = notifications.body(items, self._settings.base_url)
        return Message(await self._address(lane), notifications.title(items), said)

    async def _address(self, lane: Lane) -> str:
        """Where a channel is. Raises NotTaken, ConfigError."""
        name = lane.channel
        if not lane.repository_id:
            found = next((one.address for one in self._settings.channels if one.name == name), None)
            if found is None:
                raise NotTaken(f"NOTIFY has no channel {name}")
            return found
        async with self._store.reading() as session:
            owner = await session.get(Repository, lane.repository_id)
        channel = named(owner.channels if owner else None).get(name)
        if owner is None or channel is None or channel.secret is None:
            raise NotTaken(f"the repository's file has no channel {name} with a secret")
        known = await self._secrets.of(owner.id, [channel.secret], "", preview=False)
        if channel.secret not in known:
            unset = f"blacktree secret set {owner.full_name} {channel.secret}"
            raise NotTaken(f"its secret is not set: {unset}, without --environment and --preview")
        return known[channel.secret].strip()
