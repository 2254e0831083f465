"""What lets somebody in: the instance's tokens, people's and programs', and browsers that are signed in."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from bot.secrets.tokens import Tokens
from bot.store.tables import TokenRow
from bot.web.api.models import TokenShown
from bot.web.api.operation import Call, Operation
from bot.web.guard import changed
from bot.web.problems import Refusal
from bot.web.rules import INSTANCE, Of, Rule
from bot.web.sessions import Sessions
from config.settings import Settings


@dataclass(frozen=True)
class TokensApi:
    """The operations."""

    sessions: Sessions
    tokens: Tokens
    settings: Settings

    def operations(self) -> list[Operation]:
        ends = Rule(Of.INSTANCE, audited=True)
        return [
            Operation("GET", "/tokens", INSTANCE, "What lets somebody in", self.listed, list[TokenShown]),
            Operation("DELETE", "/tokens/{id}", ends, "Let in no more", self.revoke, None, status=204),
        ]

    async def listed(self, _call: Call) -> list[TokenShown]:
        return await self._all()

    async def revoke(self, call: Call) -> None:
        asked = call.path["id"]
        found = next((one for one in await self._all() if one.id == asked), None)
        if found is None:
            raise HTTPException(404, "there is no such token: GET /tokens lists them")
        if found.kind in ("api", "metrics"):
            raise Refusal("fixed", f"{found.name} is changed by a setting: {found.about}")
        if found.kind == "session":
            await self.sessions.end(asked)
            return changed(call.request, f"ended a session of {found.name}")
        await self.tokens.revoke(int(asked))
        return changed(call.request, f"revoked the token {found.name}")

    async def _all(self) -> list[TokenShown]:
        fixed = [TokenShown(id="api", kind="api", name="the API's token", about="another API_TOKEN ends it")]
        if self.settings.metrics_token:
            said = "reads /metrics alone; another METRICS_TOKEN ends it"
            fixed.append(TokenShown(id="metrics", kind="metrics", name="the metrics' token", about=said))
        made = [
            TokenShown(
                id=str(row.id),
                kind="person" if row.login else "program",
                name=row.name,
                about=_about(row),
                created_at=row.created_at,
                seen_at=row.used_at,
                expires_at=row.expires_at,
            )
            for row in await self.tokens.listed()
        ]
        return (
            fixed
            + made
            + [
                TokenShown(
                    id=row.mark,
                    kind="session",
                    name=row.name,
                    about=f"signed in by {row.how}: {row.agent}",
                    created_at=row.created_at,
                    seen_at=row.seen_at,
                    expires_at=row.expires_at,
                )
                for row in await self.sessions.all()
            ]
        )


def _about(row: TokenRow) -> str:
    """Pure: whose a token is, and what it may."""
    of = "" if row.repositories is None else f" of {len(row.repositories)} repositories"
    used = f", used from {row.used_from}" if row.used_from else ""
    return f"{row.login or 'a program'} may {row.scope}{of}{used}"
