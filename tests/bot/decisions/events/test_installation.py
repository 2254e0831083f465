"""Installations and repositories come and go: what is worked on follows."""

from __future__ import annotations

from typing import Any

import pytest
from gidgethub import sansio

from bot.decisions.events.installation import about_account
from bot.store.database import Store
from bot.store.tables import JobState, Repository
from tests.bot.conftest import REPOSITORY, Rows

INSTALLATION = {"id": 11, "account": {"login": "acme"}}
SHOP = {"id": REPOSITORY, "name": "shop", "full_name": "acme/shop", "private": True}


async def tell(store: Store, event: str, action: str, **payload: Any) -> str | None:
    about = {"action": action, "installation": INSTALLATION, **payload}
    return await about_account(sansio.Event(about, event=event, delivery_id="guid"), store)


async def shop(store: Store) -> Repository:
    async with store.reading() as session:
        return await session.get_one(Repository, REPOSITORY)


async def test_an_installation_brings_its_repositories(store: Store) -> None:
    assert await tell(store, "installation", "created", repositories=[SHOP]) == (
        "installed for acme: 1 repository"
    )
    row = await shop(store)
    assert (row.full_name, row.installation_id, row.inactive) == ("acme/shop", 11, "")


async def test_a_suspended_installation_starts_nothing_until_it_is_back(store: Store, rows: Rows) -> None:
    job = await rows.job(await rows.run(), state=JobState.QUEUED)
    await tell(store, "installation", "created", repositories=[SHOP])

    await tell(store, "installation", "suspend")
    assert (await shop(store)).inactive == "in a suspended installation of the App"
    ended = await rows.again(job)
    assert (ended.state, ended.sentence) == (
        JobState.CANCELLED,
        "acme/shop is in a suspended installation of the App",
    )

    assert await tell(store, "installation", "unsuspend") == (
        "the installation of acme is not suspended any more: 1 repository"
    )
    assert (await shop(store)).inactive == ""


async def test_a_removed_installation_is_over_until_it_is_made_again(store: Store) -> None:
    await tell(store, "installation", "created", repositories=[SHOP])
    await tell(store, "installation", "deleted", repositories=[SHOP])
    assert (await shop(store)).inactive == "not in an installation of the App"
    await tell(store, "installation", "unsuspend")
    assert (await shop(store)).inactive != ""
    await tell(store, "installation", "created", repositories=[SHOP])
    assert (await shop(store)).inactive == ""


async def test_a_repository_that_moved_to_another_installation_stays_active(store: Store) -> None:
    await tell(store, "installation_repositories", "added", repositories_added=[SHOP])
    other = {"id": 12, "account": {"login": "globex"}}
    await tell(store, "installation_repositories", "added", repositories_added=[SHOP], installation=other)
    await tell(store, "installation_repositories", "removed", repositories_removed=[SHOP])
    assert (await shop(store)).inactive == ""
    said = await tell(
        store, "installation_repositories", "removed", repositories_removed=[SHOP], installation=other
    )
    assert said == "noted for globex: 0 added, 1 removed"
    assert (await shop(store)).inactive != ""


@pytest.mark.parametrize(
    ("action", "changes", "reason", "inactive"),
    [
        ("archived", {}, "noted: acme/shop is archived", "archived"),
        ("deleted", {}, "noted: acme/shop is deleted", "deleted"),
        ("renamed", {"full_name": "acme/store"}, "noted: acme/shop is acme/store now", ""),
        ("transferred", {"full_name": "globex/shop"}, "noted: acme/shop is globex/shop now", ""),
        ("publicized", {"private": False}, "noted: acme/shop is public", ""),
    ],
)
async def test_a_repository_changes(
    store: Store, action: str, changes: dict[str, Any], reason: str, inactive: str
) -> None:
    await tell(store, "installation", "created", repositories=[SHOP])
    assert await tell(store, "repository", action, repository=SHOP | changes) == reason
    row = await shop(store)
    assert (row.inactive, row.full_name) == (inactive, changes.get("full_name", "acme/shop"))
    assert row.private == changes.get("private", True)


async def test_an_archived_repository_comes_back_and_a_running_job_of_it_is_cancelled(
    store: Store, rows: Rows
) -> None:
    job = await rows.job(await rows.run(), state=JobState.RUNNING)
    await tell(store, "repository", "archived", repository=SHOP)
    assert (await rows.again(job)).cancelling == "acme/shop is archived"
    await tell(store, "repository", "unarchived", repository=SHOP)
    assert (await shop(store)).inactive == ""


async def test_a_deleted_repository_is_not_merely_out_of_its_installation(store: Store) -> None:
    await tell(store, "installation", "created", repositories=[SHOP])
    await tell(store, "repository", "deleted", repository=SHOP)
    await tell(store, "installation_repositories", "removed", repositories_removed=[SHOP])
    assert (await shop(store)).inactive == "deleted"


@pytest.mark.parametrize(("event", "action"), [("push", ""), ("repository", "edited"), ("ping", "")])
async def test_other_events_are_none_of_its_business(store: Store, event: str, action: str) -> None:
    assert await tell(store, event, action, repository=SHOP) is None
