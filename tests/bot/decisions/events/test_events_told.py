"""What GitHub's events lead to: over HTTP, to a bot that has no worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.store.tables import JobState
from tests.bot.talk import Talk
from workers.contract.messages import Kind

FILE = """
images:
  web: {context: web, dockerfile: web/Dockerfile, paths: [web], tags: ["{branch}", "{version}", "{minor}"]}
  jobs: {context: jobs, dockerfile: jobs/Dockerfile, paths: [jobs]}
environments:
  production: {image: web}
  queue: {image: jobs}
  shelf: {image: web, tags: ["v*"]}
  fair: {image: web, on: [release]}
  preview: {image: web, drafts: false, labels: [show]}
"""


async def places(talk: Talk, run: int = -1) -> list[str | None]:
    """What the run's jobs build and deploy."""
    return [job.name for job in await talk.jobs((await talk.runs())[run])]


async def test_a_push_builds_only_what_it_touches_and_the_other_statuses_are_good(talk: Talk) -> None:
    sha = await talk.push({"web/index.html": "1"})

    await talk.until_reason(f"runs {sha[:7]} of main")
    assert await places(talk) == ["web", "production"]
    for context in ("blacktree/build (jobs)", "blacktree/deploy (queue)"):
        assert await talk.status(sha, context, "success") == "Not touched by this change"


async def test_a_push_that_touches_no_image_runs_nothing(talk: Talk) -> None:
    sha = await talk.push({"README": "1"})

    assert await talk.status(sha, "blacktree/build (web)", "success") == "Not touched by this change"
    assert await talk.runs() == []


async def test_a_push_that_arrives_late_is_superseded_by_the_branchs_head(talk: Talk) -> None:
    sha = await talk.push({"web/index.html": "1"})
    await talk.until_reason(f"runs {sha[:7]} of main")

    talk.github.deliver("push", _push(talk, after=talk.first))

    await talk.until_reason(f"superseded: main is at {sha[:7]} by now")
    said = await talk.status(talk.first, "blacktree/build (web)", "error")
    assert said == f"Superseded by {sha[:7]}"
    assert [run.sha for run in await talk.runs()] == [sha]


async def test_a_branch_that_is_gone_runs_nothing(talk: Talk) -> None:
    await talk.work.checkout("short", create=True)
    await talk.push({"web/a": "1"}, "short")
    await talk.github.move_branch(talk.repository, "short", None)

    await talk.until_reason("ignored: refs/heads/short was deleted")
    assert await talk.runs() == []


async def test_a_forced_push_looks_at_everything(talk: Talk) -> None:
    await talk.push({"web/index.html": "1"})
    await talk.until_run("push")

    await talk.work.amend(message="Other")
    await talk.work.push(branch="main", force=True)

    await talk.until_reasons("runs ", 2)
    assert await places(talk) == ["web", "jobs", "production", "queue"]


async def test_a_push_whose_files_github_does_not_all_tell_builds_everything(talk: Talk) -> None:
    await talk.push({f"docs/{number}": "1" for number in range(301)})

    await talk.until_run("push")
    assert await places(talk) == ["web", "jobs", "production", "queue"]


async def test_a_pull_request_whose_fork_is_gone_is_still_closed(talk: Talk, tmp_path: Path) -> None:
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await talk.github.fork(talk.repository, eve)
    work = await fork.clone(tmp_path / "fork", eve)
    head = await work.commit({"web/a": "1"}, message="Change")
    await work.push(branch="main")
    number = await talk.github.open_pull(talk.repository, eve, head="eve:main")
    assert f"/approve {head}" in await talk.status(head, "blacktree/build", "pending")
    talk.github.delete_repository(fork, eve)

    await talk.github.close_pull(talk.repository, number, talk.ada)

    await talk.until_reason(f"stops pr-{number}")


@pytest.mark.parametrize(
    "message",
    ["[skip ci]", "x [CI SKIP]", "[no ci] x", "[skip actions]", "[actions skip]", "x\n\n\nskip-checks: true"],
)
async def test_a_commit_may_ask_to_be_skipped(talk: Talk, message: str) -> None:
    await talk.work.commit({"web/a": "1"}, message=message)
    await talk.work.push(branch="main")

    await talk.until_reason("ignored: the commit's message says to skip")
    assert await talk.runs() == []


async def test_a_tag_is_built_once_with_the_tags_of_its_templates(talk: Talk) -> None:
    sha = await talk.push({"README": "1"})
    await talk.work.tag("v1.2.3")
    await talk.work.push("v1.2.3")

    await talk.until_reason("of tag v1.2.3")
    assert await places(talk) == ["web", "shelf"]
    (run,) = await talk.runs()
    assert (await talk.jobs(run))[0].spec["tags"] == [sha, "1.2.3", "1.2"]


async def test_a_release_reaches_what_asks_for_releases(talk: Talk) -> None:
    sha = await talk.push({"README": "1"})

    await talk.github.release(talk.repository, "r7")

    await talk.until_reason("of release r7")
    assert await places(talk) == ["web", "fair"]
    assert (await talk.runs())[-1].sha == sha


async def test_a_merge_groups_commit_is_built_and_everything_required_is_said_of_it(talk: Talk) -> None:
    await talk.work.checkout("queued", create=True)
    sha = await talk.push({"README": "1"}, "queued")

    await talk.github.merge_group(talk.repository, "main", sha)

    await talk.until_reason("of the merge queue")
    assert await places(talk) == ["web", "jobs"]
    for place in ("production", "queue", "preview"):
        context = f"blacktree/deploy ({place})"
        assert await talk.status(sha, context, "success") == "Not deployed from a merge queue"


async def _pull(talk: Talk, **how: Any) -> int:
    await talk.work.checkout("feature", create=True)
    await talk.push({"web/a": "1"}, "feature")
    return await talk.github.open_pull(talk.repository, talk.ada, head="feature", **how)


async def test_a_preview_comes_with_its_label_and_goes_with_it(talk: Talk) -> None:
    number = await _pull(talk)
    await talk.until_reason("ignored: only pull requests labeled show have previews")

    talk.github.label_pull(talk.repository, number, talk.ada, "other")
    talk.github.label_pull(talk.repository, number, talk.ada, "show")
    await talk.until_reason(f"of #{number}")
    assert await places(talk) == ["web", f"pr-{number}"]

    talk.github.unlabel_pull(talk.repository, number, talk.ada, "show")
    await talk.until_reason(f"stops pr-{number}: only pull requests labeled show")
    run, stop = await talk.runs()
    assert {job.state for job in await talk.jobs(run)} == {JobState.CANCELLED}
    assert [job.kind for job in await talk.jobs(stop)] == [Kind.STOP]


async def test_a_draft_has_a_preview_once_it_is_ready(talk: Talk) -> None:
    number = await _pull(talk, draft=True)
    talk.github.label_pull(talk.repository, number, talk.ada, "show")
    await talk.until_reason("ignored: drafts have no previews")

    talk.github.ready_for_review(talk.repository, number, talk.ada)
    await talk.until_reason(f"of #{number}")
    talk.github.convert_to_draft(talk.repository, number, talk.ada)

    await talk.until_reason(f"stops pr-{number}: drafts have no previews")


async def test_a_new_base_is_looked_at_and_a_new_title_is_not(talk: Talk) -> None:
    number = await _pull(talk)
    await talk.github.move_branch(talk.repository, "next", talk.first, user=talk.ada)
    await talk.github.edit_pull(talk.repository, number, talk.ada, title="Another")
    await talk.until_reason("ignored: only its text was edited")
    await talk.github.edit_pull(talk.repository, number, talk.ada, base="next")
    await talk.until_reason("ignored: only pull requests labeled show")


async def test_rerequested_checks_run_the_head_once_more(talk: Talk) -> None:
    number = await _pull(talk)
    talk.github.label_pull(talk.repository, number, talk.ada, "show")
    await talk.until_reason(f"of #{number}")
    head = talk.repository.pulls[number].head_sha

    await talk.github.rerequest_check(talk.repository, head, "suite")

    await talk.until_run("check_suite rerequested")
    assert (await talk.runs())[-1].sha == head


async def test_the_same_cause_from_two_hooks_runs_once(talk: Talk) -> None:
    talk.github.add_hook(
        talk.repository, talk.github.app.hook_url or "", secret=talk.github.app.webhook_secret
    )
    sha = await talk.push({"web/index.html": "1"})

    await talk.until_reason("ignored: run 1 has the same cause")
    assert [run.sha for run in await talk.runs()] == [sha]


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("star", {"action": "created"}),
        ("deployment_status", {"action": "created", "deployment": None}),
        ("workflow_run", {}),
        ("pull_request", {"action": "assigned"}),
        ("pull_request", {}),
        ("push", {}),
        ("check_run", {"action": "rerequested"}),
        ("merge_group", {"action": "checks_requested"}),
        ("invented", {"action": ["odd"]}),
    ],
)
async def test_any_event_in_any_form_is_stored_and_has_a_reason(
    talk: Talk, event: str, payload: dict[str, Any]
) -> None:
    about = {"id": talk.repository.id, "full_name": "acme/shop", "default_branch": "main"}

    guid = talk.github.deliver(event, {"repository": about, **payload})
    await talk.github.settled()

    delivery = next(one for one in talk.github.deliveries if one.guid == guid)
    assert delivery.status_code == 202
    await talk.until_reason("ignored: " if event in ("star", "invented", "workflow_run") else ": ")


@pytest.mark.timeout(600)
async def test_after_githubs_outage_everything_is_told_and_nothing_twice(talk: Talk) -> None:
    number = await _pull(talk)
    talk.github.label_pull(talk.repository, number, talk.ada, "show")
    await talk.until_reason(f"of #{number}")
    head = talk.repository.pulls[number].head_sha
    await talk.announced(number, head)
    comment = await talk.github.comment(talk.repository, number, talk.ada, "/cancel")
    with talk.github.down() as outage:
        await talk.github.until(lambda: outage.hits > 2, timeout=120)

    await talk.github.until(lambda: talk.reactions(comment) == {"eyes", "rocket"}, timeout=120)
    assert await talk.status(head, "blacktree/build (web)", "error") == "Cancelled by ada"
    await talk.shown(number, "/cancel")
    assert outage.hits < 60, "an outage is not answered with a storm"


async def test_a_renamed_repository_goes_on_and_an_archived_one_does_nothing(talk: Talk) -> None:
    await talk.push({"README": "1"})
    await talk.until_reason("ignored: it changes nothing")
    talk.github.rename(talk.repository, "acme/store", sender=talk.ada)
    await talk.until_reason("acme/shop")
    talk.github.archive(talk.repository, talk.ada)
    await talk.until_reason("archived")

    talk.github.deliver("push", _push(talk))

    await talk.until_reason("ignored: acme/store is archived")


def _push(talk: Talk, after: str = "1" * 40) -> dict[str, Any]:
    about = {"id": talk.repository.id, "full_name": talk.repository.full_name, "default_branch": "main"}
    push = {"repository": about, "ref": "refs/heads/main", "before": "2" * 40, "after": after}
    return {**push, "created": False, "forced": False, "deleted": False}


async def test_a_bad_file_is_a_failed_status_and_stands_in_the_comment(talk: Talk) -> None:
    await talk.work.checkout("feature", create=True)
    sha = await talk.push({".blacktree.yml": "environments:\n  preview: {prot: 80}\n"}, "feature")
    number = await talk.github.open_pull(talk.repository, talk.ada, head="feature")

    description = await talk.status(sha, "blacktree/build", "failure")

    assert "environments.preview.prot" in description
    assert "port" in description
    await talk.shown(number, ".blacktree.yml:2: environments.preview.prot")
