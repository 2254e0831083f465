"""Repositories with a Compose file and no `.blacktree.yml`, over HTTP, to a bot without a worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlmodel import col, select

from bot.store.tables import Job
from tests.bot.talk import Talk, talking
from tests.github import GitHub
from workers.contract.messages import Kind

COMPOSE = """
services:
  app:
    build: .
    ports: ["8080:3000"]
    environment: {TITLE: "${TITLE:-Shop}", API_KEY: }
  db:
    image: postgres:17
    environment: [POSTGRES_PASSWORD]
"""


@pytest.fixture
async def shop(tmp_path: Path, github: GitHub) -> AsyncIterator[Talk]:
    files: dict[str, str | bytes] = {"compose.yaml": COMPOSE, ".env": "TITLE=Our shop\n"}
    async with talking(tmp_path, github, files) as talk:
        yield talk


async def deployed(talk: Talk, environment: str) -> Job:
    """The newest deploy of an environment."""
    wanted = select(Job).where(Job.kind == Kind.DEPLOY, Job.name == environment)
    jobs = await talk._all(wanted.order_by(col(Job.created_at)))
    newest: Job = jobs[-1]
    return newest


async def test_a_push_runs_what_its_compose_file_says_and_tells_what_is_left_out(shop: Talk) -> None:
    sha = await shop.push({"index.html": "hello"})

    await shop.until_reason(f"runs {sha[:7]} of main")
    spec = (await deployed(shop, "production")).spec
    assert spec["processes"]["web"]["port"] == 3000
    assert spec["processes"]["web"]["env"] == {"TITLE": "Our shop"}
    assert spec["secrets"] == ["API_KEY"]
    assert spec["services"]["db"]["generate"] == ["POSTGRES_PASSWORD"]
    said = await shop.status(sha, "blacktree/compose", "success")
    keys = "services.app, services.db.environment.POSTGRES_PASSWORD, services.app.ports.0"
    assert said == f"Left out, and told by `blacktree config check`: {keys}"


async def test_a_preview_runs_the_compose_file_of_its_own_head_and_gets_main_s_secrets(shop: Talk) -> None:
    theirs = COMPOSE.replace("${TITLE:-Shop}", "Theirs").replace("API_KEY: ", "API_KEY: , OTHER_KEY: ")
    theirs = theirs.replace("postgres:17", "postgres:18")
    number, sha = await shop.open_pull({"compose.yaml": theirs})

    await shop.until_reason(f"runs {sha[:7]} of #{number}")
    spec = (await deployed(shop, f"pr-{number}")).spec
    assert spec["processes"]["web"]["env"] == {"TITLE": "Theirs"}
    assert spec["services"]["db"]["image"] == "postgres:18"
    assert spec["secrets"] == ["API_KEY"], "the default branch's word"
    await shop.shown(number, "environments.preview.secrets")
    comment = shop.living_comment(number)
    assert "Of this commit's compose.yaml these do not count before they are on main:" in comment
    assert "no port 8080 is opened" in comment


async def test_what_a_compose_file_cannot_have_is_a_failed_status(shop: Talk) -> None:
    sha = await shop.push({"compose.yaml": COMPOSE + "  spy: {build: ., privileged: true}\n"})

    said = await shop.status(sha, "blacktree/build", "failure")
    assert said.startswith(
        "compose.yaml:10: services.spy.privileged: only for repositories that the instance"
    )


async def test_an_empty_file_of_ours_leaves_the_compose_file_to_the_machine_of_whoever_wrote_it(
    shop: Talk,
) -> None:
    sha = await shop.push({".blacktree.yml": ""})

    await shop.until_reason(f"runs {sha[:7]} of main")
    spec = (await deployed(shop, "production")).spec
    assert (spec["port"], spec["secrets"], spec["services"]) == (None, [], {})


async def test_a_file_of_ours_goes_before_the_compose_file(shop: Talk) -> None:
    sha = await shop.push({".blacktree.yml": "environments: {production: {port: 99}}\n"})

    await shop.until_reason(f"runs {sha[:7]} of main")
    assert (await deployed(shop, "production")).spec["port"] == 99
