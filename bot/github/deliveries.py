"""What GitHub keeps of a hook's deliveries, and how they are asked for. Every method raises GitHubError."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bot.github.auth import AppAuth
from bot.github.calls import MOST, Calls
from bot.store.tables import Repository


@dataclass(frozen=True)
class Webhook:
    """Where GitHub keeps the deliveries of a hook: the App's, or one of a repository's own."""

    path: str
    repository: Repository | None = None  # None for the App's


@dataclass(frozen=True)
class Attempt:
    """One attempt of GitHub's to bring a delivery; `at` is by GitHub's clock."""

    id: int
    guid: str
    at: datetime
    ok: bool
    again: bool  # somebody asked for this one
    event: str
    action: str | None


class Deliveries:
    """The App's hook, and repositories' own."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def app_hook(self) -> Webhook | None:
        """The App's hook, None where we are no App."""
        return Webhook("/app/hook") if isinstance(self._calls.auth, AppAuth) else None

    async def hooks_to(self, repository: Repository, url: str) -> list[Webhook]:
        """The repository's own hooks that bring their deliveries to `url`."""
        path = f"/repos/{repository.full_name}/hooks"
        hooks = await self._calls.get(repository, f"/hooks?per_page={MOST}")
        ours = [hook["id"] for hook in hooks if (hook.get("config") or {}).get("url") == url]
        return [Webhook(f"{path}/{number}", repository) for number in ours]

    async def failed_attempts(self, hook: Webhook, since: datetime) -> list[Attempt]:
        """The attempts since then that failed, newest first. An older Enterprise gives the others too."""
        url = f"{hook.path}/deliveries?status=failure&per_page={MOST}"
        found = []
        async for item in self._calls.client.getiter(url, **await self._of_hook(hook)):
            attempt = _attempt(item)
            if attempt.at < since:
                break
            found.append(attempt)
        return found

    async def redeliver(self, hook: Webhook, attempt: int) -> None:
        url = f"{hook.path}/deliveries/{attempt}/attempts"
        await self._calls.client.post(url, data=b"", **await self._of_hook(hook))

    async def delivered(self, hook: Webhook, attempt: int) -> Any:
        """The payload of a delivery."""
        url = f"{hook.path}/deliveries/{attempt}"
        return (await self._calls.client.getitem(url, **await self._of_hook(hook)))["request"]["payload"]

    async def _of_hook(self, hook: Webhook) -> dict[str, Any]:
        """The credentials for a hook: only the App itself may ask about its own."""
        if hook.repository is not None:
            return {"oauth_token": await self._calls.token(hook.repository)}
        assert isinstance(self._calls.auth, AppAuth), "only an App has a hook of its own"  # noqa: S101
        return {"jwt": self._calls.auth.jwt()}


def _attempt(item: dict[str, Any]) -> Attempt:
    return Attempt(
        id=int(item["id"]),
        guid=str(item["guid"]),
        at=datetime.fromisoformat(item["delivered_at"]),
        ok=200 <= int(item["status_code"]) < 300,
        again=bool(item["redelivery"]),
        event=str(item["event"]),
        action=item["action"],
    )
