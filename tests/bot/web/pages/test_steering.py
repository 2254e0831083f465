"""What one steers by an environment's page, and what it says of what changed: to a bot without a worker."""

from __future__ import annotations

import re
from datetime import timedelta

from sqlmodel import col, select

from bot.store.tables import AuditRow, BackupRow, Lock, ServiceRow
from tests.bot.decisions.test_environments_told import served
from tests.bot.talk import Talk
from tests.bot.web.pages.test_acts import Browser, browser  # noqa: F401 (a fixture)
from workers.contract.messages import now

FILE = """
environments:
  production: {branch: null}
  staging: {branch: null}
  preview: {}
"""


async def changes(talk: Talk) -> list[str]:
    async with talk.store.reading() as session:
        return [row.what for row in (await session.exec(select(AuditRow).order_by(col(AuditRow.id)))).all()]


async def test_a_lock_is_taken_for_a_time_freed_and_each_is_written_down_once(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    place = await served(talk, "production", talk.first)
    at = f"/environments/{place.id}"

    assert (await browser.send(f"{at}/lock", why="the fair", **{"for": "2h"})).status_code == 303
    page = await browser.page(at)
    assert "Locked by administrator" in page
    assert ": the fair" in page
    [lock] = re.findall(r'name="lock" value="(\d+)"', page)
    assert (await browser.send(f"{at}/unlock", lock=lock)).status_code == 303
    gone = await browser.send(f"{at}/unlock", lock=lock, form="Unlock")

    assert (gone.status_code, "Unlock was not done: That lock is gone already." in gone.text) == (409, True)
    locked, freed = (await changes(talk))[-2:]
    assert locked.startswith("locked production until 20")
    assert freed == "unlocked production, of administrator"


async def test_what_fails_says_why_at_its_own_form_and_is_not_done(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    place = await served(talk, "production", talk.first, talk.first)
    at = f"/environments/{place.id}"

    wrong = await browser.send(f"{at}/deploy", pull="the blue one", form="Deploy")
    late = await browser.send(f"{at}/lock", form="Lock", **{"for": "soon"})

    assert (wrong.status_code, late.status_code) == (400, 400)
    for answer, form in ((wrong, "Deploy"), (late, "Lock")):
        [opened] = re.findall(r'<details class="act" open>.*?</details>', answer.text, re.DOTALL)
        assert f'name="form" value="{form}"' in opened
        assert 'role="alert"' in opened
        assert "data-events" not in answer.text, "what is wrong stays until it was read"
    assert "&#39;the blue one&#39; is no number, such as 42." in wrong.text
    assert await talk.runs() == []


async def test_what_is_locked_by_another_is_not_offered(talk: Talk, browser: Browser) -> None:  # noqa: F811
    place = await served(talk, "production", talk.first, talk.first)
    at = f"/environments/{place.id}"
    assert f"{at}/rollback" in await browser.page(at)
    async with talk.store.transaction() as session:
        session.add(Lock(repository_id=talk.repository.id, environment="production", owner="ada"))

    page = await browser.page(at)

    assert "Nobody else deploys here until the lock is freed." in page
    for act in ("deploy", "rollback", "stop"):
        assert f"{at}/{act}" not in page, act
    assert f"{at}/unlock" in page


async def test_another_environments_images_are_promoted_by_the_page(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    await served(talk, "staging", talk.first)
    place = await served(talk, "production", talk.first)
    at = f"/environments/{place.id}"
    assert "<option>staging</option>" in await browser.page(at)

    done = await browser.send(f"{at}/promote", why="it is good", **{"from": "staging"})

    [run] = [run for run in await talk.runs() if run.cause == "api promote"]
    assert (done.status_code, done.headers["location"]) == (303, f"/runs/{run.id}")


async def test_a_pull_requests_head_is_deployed_by_its_number(talk: Talk, browser: Browser) -> None:  # noqa: F811
    place = await served(talk, "production", talk.first)
    number, sha = await talk.open_pull({"a": "1"})

    done = await browser.send(f"/environments/{place.id}/deploy", pull=f"#{number}")

    [run] = [run for run in await talk.runs() if run.cause == "api deploy"]
    assert done.headers["location"] == f"/runs/{run.id}"
    assert (run.sha, run.pull_number, run.ref) == (sha, number, f"refs/pull/{number}/head")


async def test_any_two_releases_are_compared_and_no_value_of_a_variable_is_told(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    other = await talk.push({"a": "# [skip ci]"}, message="[skip ci]")
    place = await served(talk, "production", talk.first, other, talk.first)

    page = await browser.page(f"/environments/{place.id}/changes?from=1&to=2")

    assert f"compare/{talk.first}...{other}" in page
    assert re.search(r"setting port</th>.*?<code>1</code>.*?<code>2</code>", page, re.DOTALL)
    assert re.search(r"variable A</th>.*?another value", page, re.DOTALL)
    assert f"shop@{other[:12]}" in page
    newest = await browser.page(f"/environments/{place.id}/changes")
    assert f"compare/{other}...{talk.first}" in newest
    answer = await browser.http.get(f"/environments/{place.id}/changes?from=99")
    assert answer.status_code == 404


async def test_a_backup_is_put_back_only_by_who_typed_the_environments_name(
    talk: Talk,
    browser: Browser,  # noqa: F811
) -> None:
    place = await served(talk, "production", talk.first)
    async with talk.store.transaction() as session:
        session.add(
            ServiceRow(
                environment_id=place.id or 0,
                name="db",
                image="postgres",
                worker="one",
                backup={"command": ["pg_dump"], "cron": "0 3 * * *"},
            )
        )
        known = {
            "repository_id": talk.repository.id,
            "environment": "production",
            "service": "db",
            "job_id": "1-1",
        }
        more = {"name": "x", "sha256": "0", "size": 4_200_000, "dumped": 1, "restore": ["psql"]}
        begun = now() - timedelta(hours=3)
        session.add(BackupRow.model_validate({**known, **more, "begun_at": begun, "created_at": begun}))
    at = f"/environments/{place.id}"
    page = await browser.page(at)
    assert "4.2 MB" in page
    assert "3 h ago" in page

    wrong = await browser.send(f"{at}/restore", backup="1", confirm="staging", form="Put back 1")
    assert (wrong.status_code, "confirm it with the environment" in wrong.text) == (422, True)
    assert await talk.runs() == []
    done = await browser.send(f"{at}/restore", backup="1", confirm="production", why="lost a table")

    [run] = [run for run in await talk.runs() if run.cause == "restore"]
    assert (done.headers["location"], run.actor) == (f"/runs/{run.id}", "administrator")
    nowhere = await browser.send(f"{at}/backup", service="db", form="Back up db")
    assert "SERVICE_BACKUPS" in nowhere.text
