"""What can hold a deployment up, as the stand-in has it: reviews, checks, protection, an old head."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.github.visitors import Side, visiting

REPO = "/repos/acme/sample"


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with visiting(tmp_path) as one:
        yield one


@pytest.fixture
async def number(side: Side, tmp_path: Path) -> int:
    """Of a pull request that changes one file."""
    return await side.pull(tmp_path / "work")


async def test_reviews_are_listed_and_told(side: Side, number: int) -> None:
    eve = side.github.user("eve")
    side.github.review(side.sample, number, eve, "CHANGES_REQUESTED")
    side.github.review(side.sample, number, eve, body="Fine now")
    bot = await side.clients.bot()
    listed = (await bot("GET", f"{REPO}/pulls/{number}/reviews?per_page=100")).json()
    assert [(one["user"]["login"], one["state"]) for one in listed] == [
        ("eve", "CHANGES_REQUESTED"),
        ("eve", "APPROVED"),
    ]
    assert listed[1]["commit_id"] == side.sample.pulls[number].head_sha
    one = await bot("GET", f"{REPO}/pulls/{number}/reviews/{listed[1]['id']}")
    assert one.json()["body"] == "Fine now"
    told = await side.payloads("pull_request_review", "submitted")
    assert [one["review"]["state"] for one in told] == ["changes_requested", "approved"]


async def test_the_suites_of_a_commit_say_whether_all_is_over(side: Side, number: int) -> None:
    sha = side.sample.pulls[number].head_sha
    bot = await side.clients.bot()

    async def suites() -> list[tuple[str, int]]:
        told = (await bot("GET", f"{REPO}/commits/{sha}/check-suites?per_page=100")).json()
        return [(one["status"], one["latest_check_runs_count"]) for one in told["check_suites"]]

    assert await suites() == [("queued", 0)]
    side.github.check_run(side.sample, sha, "unit", None)
    assert await suites() == [("queued", 0), ("in_progress", 1)]
    side.github.check_run(side.sample, sha, "unit")
    assert await suites() == [("queued", 0), ("completed", 1)]


async def test_the_newest_check_run_of_each_name_is_listed(side: Side, number: int) -> None:
    sha = side.sample.pulls[number].head_sha
    side.github.check_run(side.sample, sha, "unit", "failure")
    side.github.check_run(side.sample, sha, "lint", None)
    run = side.github.check_run(side.sample, sha, "unit")
    bot = await side.clients.bot()
    latest = (await bot("GET", f"{REPO}/commits/{sha}/check-runs")).json()
    assert [(one["name"], one["status"], one["conclusion"]) for one in latest["check_runs"]] == [
        ("unit", "completed", "success"),
        ("lint", "in_progress", None),
    ]
    every = (await bot("GET", f"{REPO}/commits/feature/check-runs?filter=all&check_name=unit")).json()
    assert every["total_count"] == 2
    assert (await bot("GET", f"{REPO}/check-runs/{run.id}")).json()["head_sha"] == sha
    assert len(await side.payloads("check_run", "completed")) == 2
    assert len(await side.payloads("check_run", "created")) == 1


async def test_checks_that_are_wanted_again_are_told(side: Side, number: int) -> None:
    sha = side.sample.pulls[number].head_sha
    await side.github.rerequest_check(side.sample, sha, "suite", user=side.ada)
    await side.github.rerequest_check(side.sample, sha, "run", user=side.ada)
    suite = (await side.payloads("check_suite", "rerequested"))[0]
    run = (await side.payloads("check_run", "rerequested"))[0]
    assert (suite["check_suite"]["head_sha"], suite["sender"]["login"]) == (sha, "ada")
    assert (run["check_run"]["name"], run["check_run"]["check_suite"]["head_branch"]) == (
        "blacktree",
        "feature",
    )
    assert suite["check_suite"]["pull_requests"][0]["number"] == number


async def test_a_protection_is_shown_to_each_as_far_as_may_be(side: Side) -> None:
    side.github.protect(side.sample, "main", ["unit"], reviews=2, strict=True)
    person, bot = side.clients.by(side.ada.token), await side.clients.bot()
    whole = (await person("GET", f"{REPO}/branches/main/protection")).json()
    assert whole["required_status_checks"]["contexts"] == ["unit"]
    assert whole["required_status_checks"]["strict"]
    assert whole["required_pull_request_reviews"]["required_approving_review_count"] == 2
    refused = await bot("GET", f"{REPO}/branches/main/protection")
    assert (refused.status_code, refused.json()["message"]) == (
        403,
        "Resource not accessible by integration",
    )
    summary = (await bot("GET", f"{REPO}/branches/main")).json()
    assert summary["protected"]
    assert summary["protection"]["required_status_checks"]["contexts"] == ["unit"]
    assert len((await bot("GET", f"{REPO}/branches?protected=true")).json()) == 1
    assert (await bot("GET", f"{REPO}/rules/branches/main")).json() == []
    side.github.unprotect(side.sample, "main")
    assert (await person("GET", f"{REPO}/branches/main/protection")).status_code == 404
    assert not (await bot("GET", f"{REPO}/branches/main")).json()["protected"]


async def test_a_rule_set_is_shown_to_everybody(side: Side) -> None:
    side.github.protect(side.sample, "main", ["unit"], reviews=1, ruleset=True)
    bot = await side.clients.bot()
    rules = {one["type"]: one for one in (await bot("GET", f"{REPO}/rules/branches/main")).json()}
    checks = rules["required_status_checks"]["parameters"]["required_status_checks"]
    assert [one["context"] for one in checks] == ["unit"]
    assert rules["pull_request"]["parameters"]["required_approving_review_count"] == 1
    person = side.clients.by(side.ada.token)
    assert (await person("GET", f"{REPO}/branches/main/protection")).status_code == 404


async def test_a_branch_is_brought_up_to_date_by_a_merge_of_its_base(
    side: Side, number: int, tmp_path: Path
) -> None:
    bot, path = await side.clients.bot(), f"{REPO}/pulls/{number}/update-branch"
    assert (await bot("PUT", path)).status_code == 422
    old = side.sample.pulls[number].head_sha
    work = await side.sample.clone(tmp_path / "main", side.ada)
    await work.commit({"b": "2\n"})
    await work.push()
    behind = (await bot("GET", f"{REPO}/compare/main...feature")).json()
    assert (behind["status"], behind["ahead_by"], behind["behind_by"]) == ("diverged", 1, 1)
    assert (await bot("PUT", path, {"expected_head_sha": "0" * 40})).status_code == 422
    answer = await bot("PUT", path, {"expected_head_sha": old})
    assert answer.status_code == 202
    level = (await bot("GET", f"{REPO}/compare/main...feature")).json()
    assert (level["status"], level["behind_by"]) == ("ahead", 0)
    assert [one["filename"] for one in level["files"]] == ["a"]
    synchronize = (await side.payloads("pull_request", "synchronize"))[0]
    assert synchronize["before"] == old
    assert synchronize["sender"]["login"] == "blacktree[bot]"
    assert synchronize["after"] == await side.sample.head("feature")


async def test_a_bot_cannot_update_a_forks_branch(side: Side, tmp_path: Path) -> None:
    side.sample.private = False
    mallory = side.github.user("mallory")
    fork = await side.github.fork(side.sample, mallory)
    work = await fork.clone(tmp_path / "fork", mallory)
    await work.commit({"a": "1\n"})
    await work.push()
    number = await side.github.open_pull(side.sample, mallory, head="mallory:main")
    await side.github.move_branch(side.sample, "main", await _commit_on_main(side))
    bot = await side.clients.bot()
    assert (await bot("PUT", f"{REPO}/pulls/{number}/update-branch")).status_code == 403
    compared = (await bot("GET", f"{REPO}/compare/main...mallory:main")).json()
    assert (compared["status"], compared["ahead_by"]) == ("diverged", 1)
    mine = side.clients.by(mallory.token)
    assert (await mine("PUT", f"{REPO}/pulls/{number}/update-branch")).status_code == 202
    assert side.sample.pulls[number].head_sha == await fork.head()


async def _commit_on_main(side: Side) -> str:
    """A commit on top of the default branch, which stays where it is."""
    bare, head = side.sample.bare, await side.sample.head()
    assert head
    tree = (await bare.commit(head)).tree
    return await bare.commit_tree(tree, [head], "Again", side.ada.signature(side.github.world.now()))


@pytest.mark.usefixtures("number")
async def test_refs_are_found_by_their_beginning(side: Side) -> None:
    bot = await side.clients.bot()
    found = (await bot("GET", f"{REPO}/git/matching-refs/heads/fea")).json()
    assert [one["ref"] for one in found] == ["refs/heads/feature"]
    assert len((await bot("GET", f"{REPO}/git/matching-refs/heads")).json()) == 2
    assert (await bot("GET", f"{REPO}/git/matching-refs/tags")).json() == []
    commit = (await bot("GET", f"{REPO}/commits/feature")).json()
    assert commit["commit"]["tree"]["sha"] != commit["sha"]


async def test_a_reaction_is_made_once(side: Side, number: int) -> None:
    comment = await side.github.comment(side.sample, number, side.ada, "Go?")
    eve = side.github.user("eve")
    first = side.github.react(side.sample, comment, eve, "+1")
    assert side.github.react(side.sample, comment, eve, "+1") is first
    bot = await side.clients.bot()
    listed = (await bot("GET", f"{REPO}/issues/comments/{comment}/reactions?content=%2B1")).json()
    assert [(one["user"]["login"], one["content"]) for one in listed] == [("eve", "+1")]
