"""`blacktree hook install`: one webhook for each repository, however often it is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.cli.hook import installed
from bot.decisions.events.table import handled
from bot.github.hooks import EVENTS
from config.errors import ConfigError
from config.settings import Settings
from tests.github import Fault, GitHub, Repository

SECRET = "s" * 32
URL = "http://127.0.0.1:1"


@pytest.fixture
async def shop(github: GitHub) -> Repository:
    roles: Any = {"ada": "admin", "bob": "write"}
    return await github.create_repository("acme/shop", {"a": "b"}, collaborators=roles)


def settings(github: GitHub, login: str = "ada", **other: Any) -> Settings:
    known = {
        "github_api_url": github.api_url,
        "github_token": github.user(login).token,
        "github_webhook_secret": SECRET,
        "public_url": URL,
    }
    return Settings.model_validate({**known, **other})


def hooks(github: GitHub, repository: Repository) -> list[Any]:
    return [hook for hook in github.world.hooks.values() if hook.repository is repository]


def test_no_event_is_asked_for_that_nothing_is_done_about() -> None:
    actions = {
        "check_run": "rerequested",
        "check_suite": "rerequested",
        "issue_comment": "created",
        "merge_group": "checks_requested",
        "pull_request": "opened",
        "release": "published",
    }

    for event in set(EVENTS) - {"repository"}:  # that one changes the row, before any behaviour is asked
        assert handled(event, actions.get(event)), event


async def test_it_makes_a_hook_that_the_receiver_understands(github: GitHub, shop: Repository) -> None:
    said = await installed(settings(github), "acme/shop")

    (hook,) = hooks(github, shop)
    assert hook.url == f"{URL}/webhooks/github"
    assert (hook.secret, hook.content_type, hook.active) == (SECRET, "json", True)
    assert hook.events == set(EVENTS)
    assert "is installed" in said


async def test_a_second_time_corrects_the_hook_and_makes_no_other(github: GitHub, shop: Repository) -> None:
    for number in range(35):
        github.add_hook(shop, f"http://elsewhere.test/{number}")
    github.add_hook(shop, f"{URL}/webhooks/github", secret="old", events=frozenset({"push"}))

    said = await installed(settings(github), "acme/shop")

    ours = [hook for hook in hooks(github, shop) if hook.url == f"{URL}/webhooks/github"]
    assert [(hook.secret, hook.events) for hook in ours] == [(SECRET, set(EVENTS))]
    assert len(hooks(github, shop)) == 36, "those of others stay"
    assert "up to date" in said


@pytest.mark.parametrize(
    ("login", "repository", "said"),
    [
        ("bob", "acme/shop", "admin:repo_hook"),
        ("eve", "acme/shop", "admin:repo_hook"),
        ("ada", "acme/nothing", "admin:repo_hook"),
        ("ada", "acme", "OWNER/REPO"),
        ("ada", "acme/shop/../../user", "OWNER/REPO"),
    ],
)
async def test_a_token_that_may_not_is_told_what_it_needs(
    github: GitHub, shop: Repository, login: str, repository: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        await installed(settings(github, login), repository)

    assert hooks(github, shop) == []


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"public_url": ""}, "BLACKTREE_PUBLIC_URL is missing"),
        ({"github_webhook_secret": None}, "BLACKTREE_GITHUB_WEBHOOK_SECRET is missing"),
        ({"github_token": None}, "BLACKTREE_GITHUB_TOKEN is missing"),
        ({"github_api_url": "https://api.github.com"}, "github.com can't reach http://127.0.0.1:1"),
    ],
)
async def test_what_is_missing_is_named(github: GitHub, missing: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        await installed(settings(github, **missing), "acme/shop")

    assert github.requests == []


async def test_a_token_that_github_does_not_know_is_named(github: GitHub, shop: Repository) -> None:
    with pytest.raises(ConfigError, match="BLACKTREE_GITHUB_TOKEN: GitHub does not take it"):
        await installed(settings(github, github_token="ghp_no"), "acme/shop")

    assert hooks(github, shop) == []


async def test_when_github_is_down_it_says_to_try_again(github: GitHub, shop: Repository) -> None:
    github.faults.add(Fault(status=502, path="/hooks"))

    with pytest.raises(ConfigError, match="Try again later"):
        await installed(settings(github), "acme/shop")

    assert hooks(github, shop) == []


def test_the_command_is_there_and_ends_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bot.cli.hook.configure", lambda *_, **__: None)  # the log is this whole process's
    monkeypatch.setattr("bot.cli.hook.load", lambda **_: Settings())
    result = CliRunner().invoke(app, ["hook", "install", "acme/shop"])

    assert isinstance(result.exception, ConfigError)
    assert "BLACKTREE_GITHUB_TOKEN is missing" in str(result.exception)
