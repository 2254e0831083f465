"""`blacktree` against a bot somewhere: what is typed, what is printed, and how it exits."""

from __future__ import annotations

import asyncio
import json
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bot.cli import app
from bot.cli.remote import logins
from bot.cli.remote.checkout import here, repository_of
from bot.cli.remote.looking import matters
from bot.secrets.tokens import Tokens
from bot.store.tables import Job, JobState, TokenRow, Wanted
from config.errors import ConfigError
from tests.bot.web.api.conftest import Asked, asked  # noqa: F401 (a fixture)
from workers.contract.messages import now

Typed = Callable[..., Coroutine[Any, Any, Any]]


@pytest.fixture
async def typed(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:  # noqa: F811
    """Somebody who is signed in, in a folder that is no checkout."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")

    async def run(*arguments: str, given: str = "") -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), input=given)

    token = asked.http.headers["authorization"].removeprefix("Bearer ")
    result = await run("login", asked.url, given=f"{token}\n")
    assert result.exit_code == 0, result.output
    return run


async def test_a_login_is_kept_for_its_owner_alone_and_only_if_the_token_is_right(
    typed: Typed,
    asked: Asked,  # noqa: F811
) -> None:
    file = logins.place()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    wrong = await typed("login", asked.url, given="another")
    assert (wrong.exit_code, "does not know this token" in wrong.output) == (2, True)
    assert (await typed("status")).exit_code == 0, "the one of before is still there"

    assert (await typed("logout")).exit_code == 0
    gone = await typed("status")
    assert isinstance(gone.exception, ConfigError)
    assert "blacktree login" in str(gone.exception)

    file.chmod(0o644)
    assert "chmod 600" in str((await typed("status")).exception)


async def test_one_signs_in_with_a_token_of_ones_own_and_all_are_listed_and_ended_in_one_group(
    typed: Typed,
    asked: Asked,  # noqa: F811
) -> None:
    known: dict[str, Any] = {"mark": "", "made_by": "root", "expires_at": now() + timedelta(days=1)}
    token = await Tokens(asked.store).make(TokenRow(name="ci", scope="read", **known))

    listed = await typed("token", "list")
    assert "a program may read" in listed.output, listed.output
    assert (await typed("login", asked.url, given=token)).exit_code == 0
    assert (await typed("runs")).exit_code == 0
    refused = await typed("token", "list")
    assert (refused.exit_code, "administrators" in refused.output) == (3, True)

    api = asked.http.headers["authorization"].removeprefix("Bearer ")
    assert (await typed("login", asked.url, given=api)).exit_code == 0
    ended = await typed("token", "revoke", "1")
    assert f"ci is revoked at {asked.url}" in ended.output, ended.output
    assert (await typed("login", asked.url, given=token)).exit_code == 2


async def test_what_there_is_is_a_table_for_people_and_json_for_programs(typed: Typed) -> None:
    for arguments, shown in (
        (("status",), ("production", "live", "2222222", "staging", "ailing", "3-1", "running")),
        (("runs",), ("failed", "acme/shop", "push", "main", "4444444")),
        (("runs", "--state", "failed", "--repo", "acme/shop"), ("4444444",)),
        (("env",), ("https://production.example.com",)),
        (("env", "production", "--repo", "acme/shop"), ("retired", "1111111", "push to main")),
        (("token", "list"), ("api", "another API_TOKEN ends it")),
        (("logs", "4-1", "--tail", "1"), ("✗ RUN npm test: exit code 1",)),
        (("logs", "4"), ("npm ci",)),
        (("open", "--print", "4-1"), ("/jobs/4-1",)),
        (
            ("why", "4-1"),
            ("build web failed: RUN npm test: exit code 1", "delivery", "/deliveries/6f1c0000-4"),
        ),
        (("why", "4444444", "--repo", "acme/shop", "--json"), ('"verdict"',)),
        (("open", "--print", "--repo", "acme/shop"), ("/repositories/acme/shop",)),
    ):
        result = await typed(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        for text in shown:
            assert text in result.output, (arguments, result.output)
    told = json.loads((await typed("runs", "--json", "--limit", "2")).output)
    assert [run["id"] for run in told] == [4, 3]
    assert {job["id"] for job in json.loads((await typed("status", "--json")).output)["jobs"]} >= {"3-1"}


async def test_one_environment_says_how_often_it_is_asked_for(typed: Typed) -> None:
    result = await typed("env", "production", "--repo", "acme/shop")
    assert "1,614 requests in a day, the last " in result.output, result.output
    told = json.loads((await typed("env", "production", "--repo", "acme/shop", "--json")).output)
    assert [hour["requests"] for hour in told["visits"]] == [2, 98, 310, 1204]


async def test_an_exit_code_says_whose_turn_it_is(typed: Typed) -> None:
    for arguments, code, said in (
        (("cancel", "99-1"), 4, "there is no such job"),
        (("cancel", "4-1"), 3, "has failed already"),
        (("rollback", "staging", "--repo", "acme/shop"), 3, "has no earlier release"),
        (("logs", "4-1", "--follow"), 1, "failed: RUN npm test"),
        (("cancel", "3-2", "--why", "wrong branch", "--as", "ada"), 0, "is being ended"),
    ):
        result = await typed(*arguments)
        assert (result.exit_code, said in result.output) == (code, True), (arguments, result.output)
    for arguments, said in (
        (("logs", "nothing"), "say a job"),
        (("deploy", "production"), "--repo"),
        (("env", "nowhere", "--repo", "acme/shop"), "has no environment nowhere"),
        (("status", "--url", "https://other.test"), "blacktree login https://other.test"),
    ):
        assert said in str((await typed(*arguments)).exception), arguments


async def test_a_bot_that_does_not_answer_is_told_from_one_that_refuses(
    typed: Typed, free_port: Callable[[], int]
) -> None:
    result = await typed("login", f"http://127.0.0.1:{free_port()}", given="token")
    assert (result.exit_code, "is it up?" in result.output) == (5, True)


async def test_a_log_is_followed_to_the_end_of_its_job(typed: Typed, asked: Asked) -> None:  # noqa: F811
    following = asyncio.create_task(typed("logs", asked.town.running.id, "-f"))
    async with asked.store.transaction() as session:
        (await session.get_one(Job, asked.town.running.id)).state = JobState.SUCCEEDED
    result = await following
    assert (result.exit_code, "shop at 3333333" in result.output) == (0, True)


def test_a_checkout_says_its_repository_and_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert here().repository == ""
    for command in (
        ("init", "--quiet", "--initial-branch", "topic"),
        ("remote", "add", "origin", "git@github.com:acme/shop.git"),
    ):
        subprocess.run(["git", *command], check=True)
    assert (here().repository, here().branch) == ("acme/shop", "topic")


@pytest.mark.parametrize(
    ("remote", "repository"),
    [
        ("https://github.com/acme/shop", "acme/shop"),
        ("https://ada@ghe.example.com:8443/acme/shop.js.git/", "acme/shop.js"),
        ("ssh://git@github.com:22/acme/shop.git", "acme/shop"),
        ("/srv/git/acme/shop.git", "acme/shop"),
        ("nonsense", ""),
        ("", ""),
    ],
)
def test_a_remote_names_its_repository(remote: str, repository: str) -> None:
    assert repository_of(remote) == repository


def test_of_a_run_the_log_that_matters_is_shown() -> None:
    def run(*states: str) -> dict[str, object]:
        jobs = [
            {"id": f"1-{place}", "state": state, "started_at": None if state == "waiting" else "now"}
            for place, state in enumerate(states, 1)
        ]
        return {"id": 1, "jobs": jobs}

    assert matters(run("succeeded", "failed", "cancelled")) == "1-2"
    assert matters(run("succeeded", "running", "waiting")) == "1-2"
    assert matters(run("succeeded", "succeeded")) == "1-2"
    with pytest.raises(ConfigError, match="nothing of run 1 has begun"):
        matters(run("waiting"))


def test_what_asks_a_bot_starts_without_a_bots_parts() -> None:
    """A store's and a web server's libraries would take longer than all else of a command."""
    look = (
        "import sys, bot.cli, bot.cli.remote.acting, bot.cli.remote.asking, httpx2; "
        "print({'sqlalchemy', 'sqlmodel', 'starlette', 'gidgethub'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


async def test_a_lock_is_taken_for_a_time_seen_and_freed_and_what_waits_is_listed(
    typed: Typed,
    asked: Asked,  # noqa: F811
) -> None:
    at = ("--repo", "acme/shop")
    taken = await typed("lock", "production", "--for", "2h", "--why", "a fair", "--as", "ada", *at)
    assert (taken.exit_code, "locked by ada until" in taken.output) == (0, True), taken.output
    wrong = await typed("lock", "production", "--for", "soon", *at)
    assert wrong.exit_code == 2, wrong.output
    other = await typed("lock", "production", "--as", "grace", *at)
    assert (other.exit_code, "locked by ada" in other.output) == (3, True)
    freed = await typed("unlock", "production", *at)
    assert "ada had it" in freed.output, freed.output
    assert "nothing locks production" in str((await typed("unlock", "production", *at)).exception)
    async with asked.store.transaction() as session:
        known = {"repository_id": 7, "sha": "5" * 40, "ref": "refs/heads/main", "actor": "ada"}
        session.add(Wanted.model_validate({**known, "environment": "staging", "why": "approval"}))

    listed = await typed("approvals", *at)

    assert all(word in listed.output for word in ("deploy to staging", "main", "5" * 40)), listed.output
    assert "all 40 digits" in str((await typed("approve", "55555", *at)).exception)
    closed = await typed("maintenance", "production", "on", "--text", "We move", *at)
    assert "production is in maintenance" in closed.output, closed.output
    assert "production is being woken" in (await typed("wake", "production", *at)).output
