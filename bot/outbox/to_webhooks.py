"""What a webhook is owed, one request after the other; one that takes nothing for days is disabled."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import update
from sqlmodel import col

from bot.outbox.owed import Owed
from bot.outbox.posting import Letter, NotTaken, Post
from bot.reports import happenings
from bot.reports.lanes import Lane, is_test
from bot.secrets.webhooks import WebhookSecrets
from bot.store import audit
from bot.store.audit import Changed
from bot.store.tables import Outgoing, OutgoingState, Webhook
from config.errors import ConfigError
from workers.contract.messages import now

DISABLED_AFTER = timedelta(days=3)  # without one request that was taken
DELETED = "the webhook was deleted"


class ToWebhooks:
    """Brings it by `post`."""

    def __init__(self, owed: Owed, secrets: WebhookSecrets, post: Post) -> None:
        self._owed = owed
        self._store = owed.store
        self._secrets = secrets
        self._post = post

    async def bring(self, lane: Lane) -> bool:
        """All that is due, until one is not taken: False then."""
        rows = await self._owed.of(str(lane), due=True)
        async with self._store.reading() as session:
            hook = await session.get(Webhook, lane.webhook)
        tests = [one for one in rows if is_test(one.event)]
        if hook is None or hook.disabled:
            lost = rows if hook is None else [one for one in rows if one not in tests]
            await self._owed.end(lost, OutgoingState.GIVEN_UP, hook.disabled if hook else DELETED)
            rows = [] if hook is None else tests
        for one in rows:
            assert hook is not None, "without it there are no rows"  # noqa: S101
            try:
                status = await self._one(hook, one)
            except (NotTaken, ConfigError) as error:
                answered = error.status if isinstance(error, NotTaken) else None
                if is_test(one.event):  # somebody looks at what comes of it
                    await self._owed.end([one], OutgoingState.GIVEN_UP, str(error), answered)
                    continue
                await self._owed.postpone([one], str(error), answered)
                await self._failing(hook, str(error))
                return False
            await self._owed.end([one], OutgoingState.SENT, status=status)
            await self._well(hook)
        return True

    async def _one(self, hook: Webhook, one: Outgoing) -> int:
        opened = await self._secrets.open(hook)
        letter = Letter(one.guid, one.id or 0, one.event, one.body)
        return await self._post.bring(letter, opened, guarded=hook.repository_id is not None)

    async def _well(self, hook: Webhook) -> None:
        if hook.failing_since is not None or hook.disabled:
            hook.failing_since, hook.disabled = None, ""
            await self._keep(hook)

    async def _failing(self, hook: Webhook, why: str) -> None:
        if hook.failing_since is None:
            hook.failing_since = now()
        elif hook.failing_since < now() - DISABLED_AFTER:
            hook.disabled = f"it took nothing since {hook.failing_since:%Y-%m-%d %H:%M} UTC: {why}"
        else:
            return
        await self._keep(hook)

    async def _keep(self, hook: Webhook) -> None:
        """Keep how it is, and have told whether it is disabled."""
        told = {"failing_since": hook.failing_since, "disabled": hook.disabled}
        repository, name = hook.repository_id, str(hook.id)
        async with self._store.transaction() as session:
            await session.exec(update(Webhook).where(col(Webhook.id) == hook.id).values(**told))
            happenings.turned(session, repository, "webhook", "", hook.disabled, "", name)
            if hook.disabled:
                what = f"disabled webhook {hook.id}: {hook.disabled}"
                audit.note(session, Changed("Blacktree", "by itself", what, repository_id=repository))
