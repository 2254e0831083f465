"""Webhooks of ours: who is told what happens, of all repositories or of one; what they were sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field
from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.exceptions import HTTPException

from bot.reports.lanes import EVERY, KNOWN, PING, Lane
from bot.secrets.webhooks import WebhookSecrets
from bot.store.database import Store
from bot.store.tables import Outgoing, Webhook
from bot.web.access import TOO_LARGE
from bot.web.api.fields import Body
from bot.web.api.models import Shown, of
from bot.web.api.operation import Call, Operation, Part
from bot.web.api.rows import most, names, number_of, repository
from bot.web.api.sent import HistoryQuery, past, repeated
from bot.web.guard import changed, who
from bot.web.outcomes import OutgoingShown, newest, waited
from bot.web.rules import INSTANCE, Of, Rule, administers
from config.errors import ConfigError
from config.reaching import may_reach

ALL, ONE = "/webhooks", "/repositories/{owner}/{name}/webhooks"
MOST_WEBHOOKS = 20  # of a repository, and of the instance
_URL = r"^https?://[!-~]{1,1900}$"


class WebhookBody(Body):
    """Who is told, and of what."""

    url: Annotated[str, Field(pattern=_URL, description="that gets a POST for each event")]
    events: Annotated[
        list[Annotated[str, Field(max_length=40)]],
        Field(min_length=1, max_length=len(KNOWN), description=f"{', '.join(KNOWN)}"),
    ] = [EVERY]  # noqa: RUF012 (Pydantic copies a default)


class WebhookShown(Shown):
    """A webhook. Its secret is shown to nobody."""

    id: int
    repository: Annotated[str | None, Field(description="none: it is told of all")]
    url: Annotated[str, Field(description="without what follows its path")]
    events: list[str]
    made_by: str
    created_at: datetime
    failing_since: datetime | None
    disabled: Annotated[str, Field(description="why it gets nothing any more")]


class WebhookMade(WebhookShown):
    """A new one."""

    secret: Annotated[str, Field(description="what its requests are signed with; told now and never again")]


@dataclass(frozen=True)
class WebhooksApi:
    """The operations: of all webhooks for the instance's administrators, of its own for a repository's."""

    store: Store
    secrets: WebhookSecrets

    def operations(self) -> list[Operation]:
        everywhere = Rule(Of.INSTANCE, audited=True)
        here = administers(Of.REPOSITORY)
        return [*self._of(ALL, INSTANCE, everywhere), *self._of(ONE, here, here)]

    def _of(self, at: str, look: Rule, act: Rule) -> list[Operation]:
        one, sent = f"{at}/{{id:int}}", f"{at}/{{id:int}}/deliveries"
        whose = "of the repository" if at == ONE else "of the instance and of repositories"
        shown, ping = list[OutgoingShown], "Send it a ping, and say what came of it"
        return [
            Operation("GET", at, look, f"Webhooks {whose}", self.listed, list[WebhookShown]),
            # No `makes`: what is answered to an Idempotency-Key is kept, and a secret is not to be.
            Operation(
                "POST", at, act, "Tell an address what happens", self.make, WebhookMade,
                body=WebhookBody, status=201,
            ),
            Operation("DELETE", one, act, "Tell it no more", self.remove, None, status=204),
            Operation("POST", f"{one}/test", act, ping, self.test, OutgoingShown),
            Operation("GET", sent, look, "What it was sent, newest first", self.history, shown, HistoryQuery),
            Operation(
                "POST", f"{sent}/{{delivery:int}}/redeliver", act, "Send it that again", self.again,
                OutgoingShown, status=202, makes=True,
            ),
        ]  # fmt: skip

    async def listed(self, call: Call) -> list[WebhookShown]:
        wanted = select(Webhook).order_by(col(Webhook.id))
        async with self.store.reading() as session:
            if (owner := await self._owner(session, call)) is not None:
                wanted = wanted.where(Webhook.repository_id == owner)
            rows = (await session.exec(wanted)).all()
            known = await names(session, {row.repository_id for row in rows})
        return [_shown(row, known.get(row.repository_id or 0)) for row in rows]

    async def make(self, call: Call) -> WebhookMade:
        body: WebhookBody = call.body
        async with self.store.reading() as session:
            owner = await self._owner(session, call)
            theirs = select(func.count()).where(col(Webhook.repository_id) == owner)
            if owner is None:
                theirs = select(func.count()).where(col(Webhook.repository_id).is_(None))
            many = (await session.exec(theirs)).one()
            known = await names(session, {owner})
        if many >= MOST_WEBHOOKS:
            raise HTTPException(422, f"there are {many} webhooks already: delete one first")
        if wrong := misfit(body, guarded=owner is not None):
            raise HTTPException(422, wrong)
        asks = who(call.request)
        row = Webhook(
            repository_id=owner,
            shown="",
            sealed="",
            events=list(dict.fromkeys(body.events)),
            made_by=asks.name if asks else "",
        )
        try:
            secret = await self.secrets.make(row, body.url)
        except ConfigError as error:
            raise HTTPException(422, str(error)) from None
        changed(call.request, f"made webhook {row.id}: {row.shown}", repository_id=owner)
        return WebhookMade(**vars(_shown(row, known.get(owner or 0))), secret=secret)

    async def remove(self, call: Call) -> None:
        async with self.store.transaction() as session:
            row = await self._webhook(session, call)
            await session.delete(row)
        changed(call.request, f"deleted webhook {row.id}: {row.shown}", repository_id=row.repository_id)

    async def test(self, call: Call) -> OutgoingShown:
        async with self.store.reading() as session:
            row = await self._webhook(session, call)
            known = await names(session, {row.repository_id})
        changed(call.request, f"tested webhook {row.id}", repository_id=row.repository_id)
        body = _shown(row, known.get(row.repository_id or 0)).model_dump_json()
        return await waited(self.store, Outgoing(lane=str(_lane(row)), event=PING, body=body))

    async def history(self, call: Call) -> Part:
        query: HistoryQuery = call.query
        limit = most(query.limit)
        async with self.store.reading() as session:
            row = await self._webhook(session, call)
        return past(await newest(self.store, _lane(row), number_of(query.cursor), limit + 1), limit)

    async def again(self, call: Call) -> OutgoingShown:
        """The same, by its own guid and with a new number."""
        number: int = call.path["delivery"]
        async with self.store.transaction() as session:
            row = await self._webhook(session, call)
            made = await repeated(session, _lane(row), number, f"webhook {row.id}")
            if row.disabled:
                why = f"webhook {row.id} is disabled: test it, and when that goes well it is not any more"
                raise HTTPException(409, why)
            changed(call.request, f"sent {number} to webhook {row.id} again", repository_id=row.repository_id)
        return OutgoingShown.model_validate(made)

    async def _owner(self, session: AsyncSession, call: Call) -> int | None:
        """The repository that the path names, None for the instance."""
        return (await repository(session, call.path)).id if "owner" in call.path else None

    async def _webhook(self, session: AsyncSession, call: Call) -> Webhook:
        """The one of the path. Raises HTTPException where there is none, or it is another repository's."""
        number: int = call.path["id"]
        owner = await self._owner(session, call)
        row = await session.get(Webhook, number) if number < TOO_LARGE else None
        if row is None or owner not in (None, row.repository_id):
            raise HTTPException(404, f"there is no webhook {number}: GET …/webhooks lists them")
        return row


def misfit(body: WebhookBody, *, guarded: bool) -> str:
    """Pure: what is wrong with a webhook that somebody wants, for people. `guarded`: a repository's."""
    if unknown := next((event for event in body.events if event not in KNOWN), None):
        return f"events: there is no {unknown}. Known are {', '.join(KNOWN)}"
    try:
        parts = urlsplit(body.url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "url: is none"
    if not host or parts.fragment:
        return "url: must be an http or https URL with a host, and without a #fragment"
    if parts.username or parts.password:
        return "url: has a login in it: the signature proves who sends it"
    try:
        ip_address(host)
        private = not may_reach(host, 0, ())
    except ValueError:
        private = host == "localhost" or host.endswith(".localhost")
    if guarded and private:
        return (
            "url: is a private address: a repository's webhook reaches the internet, and by a name what "
            "NOTIFY_REACHABLE allows"
        )
    return ""


def _lane(row: Webhook) -> Lane:
    return Lane(webhook=row.id or 0)


def _shown(row: Webhook, repository: str | None) -> WebhookShown:
    return of(WebhookShown, row, repository=repository, url=row.shown)
