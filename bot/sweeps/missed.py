"""Deliveries that GitHub could not bring: it is asked for them again, or for their bodies.

What moves a ref or a pull request is fetched and looked at here, so that of everything that happened
while nobody listened only the newest is built. The rest is redelivered, which keeps GitHub's own list
of deliveries truthful.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import col, select

from bot.decisions.events import installation
from bot.decisions.events.table import handled
from bot.github.client import GitHubError, GitHubRefused
from bot.github.deliveries import Attempt, Webhook
from bot.github.forge import GitHub
from bot.github.hooks import webhook_url
from bot.store.database import Store
from bot.store.tables import Delivery, DeliveryState, Pull, Repository, Run
from bot.sweeps import marks
from config.settings import Settings
from workers.contract.messages import now

EVERY = 300.0  # seconds
# https://docs.github.com/webhooks/using-webhooks/viewing-webhook-deliveries: GitHub keeps 3 days.
_KEPT = timedelta(days=3)
_OVERLAP = timedelta(hours=1)
_MOST = 100  # deliveries that one sweep asks for at each hook
_FETCHED: dict[str, set[str | None]] = {
    "push": {None},
    "pull_request": {"opened", "synchronize", "reopened", "closed"},
}
_BRANCH = "refs/heads/"

log = structlog.get_logger()


async def sweep(store: Store, github: GitHub, settings: Settings) -> None:
    """Get what GitHub could not deliver since the last sweep; what fails now is left for the next."""
    try:
        if (hook := github.deliveries.app_hook()) is not None:
            return await _sweep(store, github, hook, "deliveries:app")
        async with store.reading() as session:
            repositories = (await session.exec(select(Repository).where(Repository.inactive == ""))).all()
        for repository in repositories:
            await _of_repository(store, github, repository, webhook_url(settings.base_url))
    except GitHubError as error:
        log.warning("missed deliveries are looked for later", error=str(error))


async def _of_repository(store: Store, github: GitHub, repository: Repository, url: str) -> None:
    try:
        for hook in await github.deliveries.hooks_to(repository, url):
            await _sweep(store, github, hook, f"deliveries:{hook.path}")
    except GitHubRefused as error:  # the token may not look at hooks
        log.debug("hooks not seen", repository=repository.full_name, error=str(error))


async def _sweep(store: Store, github: GitHub, hook: Webhook, mark: str) -> None:
    said = await marks.read(store, mark)
    oldest = now() - _KEPT
    since = max(oldest, datetime.fromisoformat(said) - _OVERLAP) if said else oldest
    found = lost(await github.deliveries.failed_attempts(hook, since), wanted)
    known = await _known(store, [missed.guid for missed in found])
    for missed in [one for one in found if one.guid not in known][:_MOST]:
        store.instruments.found("missed deliveries")
        await _get(store, github, hook, missed)
        async with store.transaction() as session:
            await marks.move(session, mark, missed.last.at.isoformat())


@dataclass(frozen=True)
class Missed:
    """A delivery of which no attempt succeeded."""

    guid: str
    last: Attempt
    tried_again: bool


def wanted(event: str, action: str | None) -> bool:
    """Whether anything would be done about such an event."""
    return event in installation.EVENTS or handled(event, action)


def lost(attempts: Iterable[Attempt], of_use: Callable[[str, str | None], bool]) -> list[Missed]:
    """The deliveries that never arrived and are `of_use`, by their last attempt."""
    tries: dict[str, list[Attempt]] = {}
    for attempt in sorted(attempts, key=lambda one: (one.at, one.id)):
        if of_use(attempt.event, attempt.action):
            tries.setdefault(attempt.guid, []).append(attempt)
    found = [
        Missed(guid, last=every[-1], tried_again=any(one.again for one in every))
        for guid, every in tries.items()
        if not any(one.ok for one in every)
    ]
    return sorted(found, key=lambda one: one.last.at)


async def _known(store: Store, guids: Sequence[str]) -> set[str]:
    """Which of these deliveries arrived after all."""
    found: set[str] = set()
    async with store.reading() as session:
        for start in range(0, len(guids), _MOST):
            part = select(Delivery.guid).where(col(Delivery.guid).in_(guids[start : start + _MOST]))
            found |= set((await session.exec(part)).all())
    return found


async def _get(store: Store, github: GitHub, hook: Webhook, missed: Missed) -> None:
    """Redeliver one, or take its body where that is needed or has not helped before."""
    last = missed.last
    try:
        if not missed.tried_again and last.action not in _FETCHED.get(last.event, ()):
            await github.deliveries.redeliver(hook, last.id)
            log.info("redelivery asked for", delivery=missed.guid, github_event=last.event)
            return
    except GitHubRefused as error:
        log.info("redelivery refused", delivery=missed.guid, error=str(error))
    try:
        payload = await github.deliveries.delivered(hook, last.id)
    except GitHubRefused as error:
        log.warning("a missed delivery is gone", delivery=missed.guid, error=str(error))
        return
    if isinstance(payload, dict):
        await _keep(store, github, missed, payload)


async def _keep(store: Store, github: GitHub, missed: Missed, payload: dict[str, Any]) -> None:
    """Store the delivery as if it had been received, or as done where a newer one tells more."""
    repository_id = (payload.get("repository") or {}).get("id")
    async with store.reading() as session:
        repository = await session.get(Repository, repository_id) if repository_id else None
    reason = await _overtaken(store, github, repository, missed.last, payload) if repository else None
    delivery = Delivery(
        guid=missed.guid,
        event=missed.last.event,
        action=missed.last.action,
        repository_id=repository_id,
        # Other pushes to the ref may have been missed too: no path filter may look at this one's files alone.
        payload=json.dumps(payload | {"forced": True} if missed.last.event == "push" else payload),
        state=DeliveryState.PROCESSED if reason else DeliveryState.RECEIVED,
        reason=reason or "",
    )
    async with store.transaction() as session:
        if await session.get(Delivery, missed.guid) is None:  # it may have come in between
            session.add(delivery)
    log.info("missed delivery fetched", delivery=missed.guid, github_event=delivery.event, reason=reason)


async def _overtaken(
    store: Store, github: GitHub, repository: Repository, attempt: Attempt, payload: dict[str, Any]
) -> str | None:
    """Why nothing is done about an old push or change of a pull request, None if it is still the newest."""
    if attempt.event == "push" and str(payload["ref"]).startswith(_BRANCH) and not payload["deleted"]:
        ref, sha = payload["ref"], payload["after"]
        head = await github.branch_head(repository, ref.removeprefix(_BRANCH))
        if head != sha:
            return f"superseded: {ref} is at {head[:7]} by now" if head else f"ignored: {ref} was deleted"
        same = select(Run.id).where(Run.repository_id == repository.id, Run.ref == ref, Run.sha == sha)
        async with store.reading() as session:
            run = (await session.exec(same)).first()
        return f"ignored: run {run} has the same commit" if run else None
    if attempt.event == "pull_request" and attempt.action in _FETCHED["pull_request"]:
        told = payload["pull_request"]
        head_now = await github.pull(repository, told["number"])
        if (head_now.sha, head_now.open) != (told["head"]["sha"], told["state"] == "open"):
            return f"superseded: #{head_now.number} has changed since"
        async with store.reading() as session:
            known = await session.get(Pull, (repository.id, head_now.number))
        if known is not None and (known.head_sha, known.open) == (head_now.sha, head_now.open):
            return f"ignored: this state of #{head_now.number} is known"
    return None
