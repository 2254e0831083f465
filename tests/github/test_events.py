"""What the stand-in tells its hooks, held to GitHub's own description of each event."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.github.visitors import FILES, Side, visiting

REPO = "/repos/acme/sample"


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with visiting(tmp_path) as one:
        yield one


@pytest.fixture
async def number(side: Side, tmp_path: Path) -> int:
    """Of a pull request that changes one file."""
    return await side.pull(tmp_path / "work")


async def test_labels_come_and_go(side: Side, number: int) -> None:
    side.github.label_pull(side.sample, number, side.ada, "preview")
    side.github.label_pull(side.sample, number, side.ada, "preview")
    bot = await side.clients.bot()
    shown = (await bot("GET", f"{REPO}/pulls/{number}")).json()
    assert [one["name"] for one in shown["labels"]] == ["preview"]
    side.github.unlabel_pull(side.sample, number, side.ada, "preview")
    labelled = await side.payloads("pull_request", "labeled")
    assert [one["label"]["name"] for one in labelled] == ["preview"]
    assert [one["name"] for one in labelled[0]["pull_request"]["labels"]] == ["preview"]
    gone = await side.payloads("pull_request", "unlabeled")
    assert gone[0]["pull_request"]["labels"] == []


async def test_a_draft_becomes_ready_and_a_draft_again(side: Side, number: int) -> None:
    side.github.convert_to_draft(side.sample, number, side.ada)
    side.github.ready_for_review(side.sample, number, side.ada)
    assert (await side.payloads("pull_request", "converted_to_draft"))[0]["pull_request"]["draft"]
    assert not (await side.payloads("pull_request", "ready_for_review"))[0]["pull_request"]["draft"]


async def test_a_new_base_is_told_with_the_old_one(side: Side, number: int) -> None:
    await side.github.move_branch(side.sample, "next", await side.sample.head())
    old = await side.sample.head()
    await side.github.edit_pull(side.sample, number, side.ada, base="next")
    edited = (await side.payloads("pull_request", "edited"))[0]
    assert edited["changes"]["base"] == {"ref": {"from": "main"}, "sha": {"from": old}}
    assert edited["pull_request"]["base"]["ref"] == "next"


async def test_the_merge_queue_makes_a_branch_and_wants_its_checks(side: Side, number: int) -> None:
    pull = side.sample.pulls[number]
    ref = await side.github.merge_group(side.sample, "main", pull.merge_commit_sha or "", number=number)
    group = (await side.payloads("merge_group", "checks_requested"))[0]["merge_group"]
    assert ref.startswith(f"refs/heads/gh-readonly-queue/main/pr-{number}-")
    assert (group["head_ref"], group["head_sha"]) == (ref, pull.merge_commit_sha)
    assert (group["base_ref"], group["base_sha"]) == ("refs/heads/main", pull.base_sha)
    pushed = [one for one in await side.payloads("push") if one["ref"] == ref]
    assert pushed[0]["created"]


async def test_a_release_is_published_and_tags_what_it_releases(side: Side) -> None:
    await side.github.release(side.sample, "v1.0.0", side.ada)
    await side.github.release(side.sample, "v1.1.0-rc.1", side.ada, prerelease=True)
    published = await side.payloads("release", "published")
    assert [one["release"]["tag_name"] for one in published] == ["v1.0.0", "v1.1.0-rc.1"]
    assert published[1]["release"]["prerelease"]
    tags = [one for one in await side.payloads("create") if one["ref_type"] == "tag"]
    assert [one["ref"] for one in tags] == ["v1.0.0", "v1.1.0-rc.1"]
    assert [one["ref"] for one in await side.payloads("push")] == [f"refs/tags/{one['ref']}" for one in tags]
    bot = await side.clients.bot()
    assert (await bot("GET", f"{REPO}/releases/latest")).json()["tag_name"] == "v1.0.0"
    assert (await bot("GET", f"{REPO}/releases/tags/v1.1.0-rc.1")).status_code == 200
    assert len((await bot("GET", f"{REPO}/releases")).json()) == 2


async def test_a_plain_issue_has_comments_and_is_no_pull_request(side: Side, number: int) -> None:
    side.github.app.events = [*side.github.app.events, "issues"]
    issue = await side.github.open_issue(side.sample, side.ada, body="It is broken")
    assert issue == number + 1
    comment = await side.github.comment(side.sample, issue, side.ada, "/deploy")
    await side.github.edit_comment(side.sample, comment, side.ada, "/deploy now")
    assert (await side.payloads("issues", "opened"))[0]["issue"]["number"] == issue
    created = (await side.payloads("issue_comment", "created"))[0]
    assert "pull_request" not in created["issue"]
    assert created["comment"]["html_url"].endswith(f"/issues/{issue}#issuecomment-{comment}")
    bot = await side.clients.bot()
    assert "pull_request" not in (await bot("GET", f"{REPO}/issues/{issue}")).json()
    assert "pull_request" in (await bot("GET", f"{REPO}/issues/{number}")).json()
    assert (await bot("GET", f"{REPO}/pulls/{issue}")).status_code == 404


async def test_an_installation_comes_rests_and_goes(side: Side) -> None:
    github, owner = side.github, side.github.user("boss")
    other = await github.create_repository("zoo/keeper", FILES)
    number = github.install_app(other, sender=owner)
    second = await github.create_repository("zoo/second", FILES)
    assert github.install_app(second, sender=owner) == number
    github.remove_from_installation(second, sender=owner)
    github.suspend_app(number, sender=owner)
    refused = await side.clients.app()("POST", f"/app/installations/{number}/access_tokens")
    assert refused.status_code == 403
    assert refused.json()["message"] == "This installation has been suspended"
    github.unsuspend_app(number, sender=owner)
    again = await side.clients.app()("POST", f"/app/installations/{number}/access_tokens")
    assert again.status_code == 201
    github.uninstall_app(number, sender=owner)
    gone = await side.clients.by(again.json()["token"])("GET", "/repos/zoo/keeper")
    assert gone.status_code == 401
    created = (await side.payloads("installation", "created"))[0]
    assert [one["full_name"] for one in created["repositories"]] == ["zoo/keeper"]
    added = (await side.payloads("installation_repositories", "added"))[0]
    assert [one["full_name"] for one in added["repositories_added"]] == ["zoo/second"]
    removed = (await side.payloads("installation_repositories", "removed"))[0]
    assert [one["full_name"] for one in removed["repositories_removed"]] == ["zoo/second"]
    suspended = (await side.payloads("installation", "suspend"))[0]
    assert suspended["installation"]["suspended_at"]
    assert len(await side.payloads("installation", "unsuspend")) == 1
    assert len(await side.payloads("installation", "deleted")) == 1


async def test_a_suspended_installation_gets_neither_answers_nor_events(side: Side) -> None:
    bot = await side.clients.bot()
    side.github.suspend_app(next(iter(side.github.world.installations)))
    assert (await bot("GET", REPO)).status_code == 403
    await side.github.move_branch(side.sample, "quiet", await side.sample.head())
    assert await side.payloads("push") == []


async def test_a_repository_moves_rests_and_goes(side: Side) -> None:
    github, sample, ada = side.github, side.sample, side.ada
    github.rename(sample, "acme/renamed", sender=ada)
    github.archive(sample, ada)
    bot, head = await side.clients.bot(), await sample.head()
    refused = await bot("POST", f"/repos/acme/renamed/statuses/{head}", {"state": "success"})
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "Repository was archived so is read-only.",
    )
    assert (await bot("GET", "/repos/acme/renamed")).json()["archived"]
    github.archive(sample, ada, archived=False)
    github.rename(sample, "zoo/renamed", sender=ada)
    assert (await bot("GET", "/repos/acme/renamed")).status_code == 404
    other = await github.create_repository("acme/other", FILES)
    github.install_app(other)
    github.delete_repository(other, ada)
    assert (await bot("GET", "/repos/acme/other")).status_code == 404
    renamed = (await side.payloads("repository", "renamed"))[0]
    assert renamed["changes"]["repository"]["name"]["from"] == "sample"
    assert len(await side.payloads("repository", "archived")) == 1
    assert len(await side.payloads("repository", "unarchived")) == 1
    moved = (await side.payloads("repository", "transferred"))[0]
    assert moved["changes"]["owner"]["from"]["organization"]["login"] == "acme"
    assert moved["repository"]["full_name"] == "zoo/renamed"
    assert (await side.payloads("repository", "deleted"))[0]["repository"]["full_name"] == "acme/other"
    reached = await side.payloads("installation_repositories", "removed")
    assert [one["repositories_removed"][0]["id"] for one in reached] == [sample.id, other.id]


async def test_a_pull_request_outlives_its_fork(side: Side, tmp_path: Path) -> None:
    side.sample.private = False
    mallory = side.github.user("mallory")
    fork = await side.github.fork(side.sample, mallory)
    work = await fork.clone(tmp_path / "fork", mallory)
    sha = await work.commit({"a": "1\n"})
    await work.push()
    number = await side.github.open_pull(side.sample, mallory, head="mallory:main")
    side.github.delete_repository(fork, mallory)
    await side.github.edit_pull(side.sample, number, side.ada, title="Still here")
    await side.github.close_pull(side.sample, number, side.ada)
    edited = (await side.payloads("pull_request", "edited"))[0]["pull_request"]
    assert (edited["head"]["repo"], edited["head"]["sha"]) == (None, sha)
    bot = await side.clients.bot()
    assert (await bot("GET", f"{REPO}/pulls/{number}")).json()["head"]["repo"] is None


async def test_a_status_is_told_to_who_asks_for_it(side: Side) -> None:
    side.github.app.events = [*side.github.app.events, "status"]
    bot, sha = await side.clients.bot(), await side.sample.head()
    wish = {"state": "failure", "context": "ci/unit", "description": "2 of 40 failed"}
    await bot("POST", f"{REPO}/statuses/{sha}", wish)
    told = (await side.payloads("status"))[0]
    assert (told["sha"], told["state"], told["context"]) == (sha, "failure", "ci/unit")
    assert [one["name"] for one in told["branches"]] == ["main"]


async def test_deployments_are_told_to_who_asks_for_them(side: Side) -> None:
    side.github.app.events = [*side.github.app.events, "deployment", "deployment_status"]
    bot, sha = await side.clients.bot(), await side.sample.head()
    made = (await bot("POST", f"{REPO}/deployments", {"ref": sha, "required_contexts": []})).json()
    await bot("POST", f"{REPO}/deployments/{made['id']}/statuses", {"state": "success"})
    assert (await side.payloads("deployment", "created"))[0]["deployment"]["sha"] == sha
    told = (await side.payloads("deployment_status", "created"))[0]
    assert told["deployment_status"]["state"] == "success"
