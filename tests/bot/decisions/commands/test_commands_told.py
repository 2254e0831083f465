"""Commands as people give them: over HTTP, to a bot that has no worker."""

from __future__ import annotations

from pathlib import Path

from nacl.public import PrivateKey

from bot.store.tables import CommandState, JobState
from tests.bot.talk import Talk
from workers.contract.messages import Claim, Refusal

FILE = """
environments:
  preview: {}
  staging:
    on: [command]
  production:
    on: [command]
    gates:
      after: staging
      review: true
  guarded:
    on: [command]
    gates: {approval: true, checks: [ci]}
  sure:
    on: [command]
    gates: {confirm: true}
"""


async def test_help_is_answered_in_the_one_comment_and_the_comment_gets_eyes_then_a_rocket(
    talk: Talk,
) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    said = await talk.done(number, "/help")

    assert "/rollback <environment> [release]" in said
    await talk.shown(number, "/rollback")
    assert len(talk.github.comments(talk.repository, number)) == 2


async def test_several_commands_are_done_in_their_order_and_each_has_its_answer(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert await talk.say(number, "/lock staging busy\n/status\n/unlock staging") == {"eyes", "rocket"}

    assert [(row.line, row.state) for row in await talk.commands()] == [
        ("/lock staging busy", CommandState.SUCCEEDED),
        ("/status", CommandState.SUCCEEDED),
        ("/unlock staging", CommandState.SUCCEEDED),
    ]
    assert "staging is locked by ada" in (await talk.commands())[1].answer


async def test_an_unknown_command_is_answered_with_the_nearest_and_another_bots_is_left_alone(
    talk: Talk,
) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert (
        await talk.refused(number, "/deplyo staging") == "there is no command /deplyo. Did you mean /deploy?"
    )
    await talk.github.comment(talk.repository, number, talk.ada, "/lgtm")
    await talk.until_reason("ignored: a comment without a command")


async def test_who_may_not_write_is_refused_and_told_what_lacks(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    eve = talk.github.user("eve")
    talk.repository.collaborators["eve"] = "read"

    for line in ("/build", "/deploy staging", "/lock staging", "/approve " + "a" * 40, "/cancel", "/stop"):
        name = line.split()[0]
        assert await talk.refused(number, line, eve) == f"{name} needs write access, which eve has not"


async def test_a_command_has_the_rights_of_who_says_it_not_of_who_said_it_first(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    talk.repository.collaborators["eve"] = "read"
    await talk.done(number, "/cancel")

    for line in ("/retry", "/redeploy"):
        assert "needs write access, which eve has not" in await talk.refused(
            number, line, talk.github.user("eve")
        )


async def test_comments_on_issues_and_those_of_bots_do_nothing(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    ours = talk.github.comments(talk.repository, number)[0]
    issue = await talk.github.open_issue(talk.repository, talk.ada)
    about = {"id": talk.repository.id, "full_name": "acme/shop", "default_branch": "main"}
    pull = {"number": number, "pull_request": {}}

    await talk.github.comment(talk.repository, issue, talk.ada, "/build")
    await talk.until_reason("ignored: a comment on an issue, not on a pull request")
    for author in ({"login": "helper", "type": "Bot"}, {"login": ours.user.login, "type": "User"}):
        said = {"id": 7, "body": "/build", "user": author, "created_at": "2026-11-24T10:00:00Z"}
        told = {"action": "created", "repository": about, "issue": pull, "comment": said}
        guid = talk.github.deliver("issue_comment", told)
        await talk.until_reason("ignored: a bot's comment", guid)
    assert await talk.commands() == []


async def test_a_command_about_a_head_that_its_author_did_not_see_is_refused(talk: Talk) -> None:
    number, old = await talk.open_pull({"a": "1"})
    new = await talk.push({"a": "2"}, "feature")

    said = await talk.refused(number, f"/deploy staging {old[:7]}")

    assert said == f"the head is {new}, and you named {old[:7]}"


async def test_on_a_locked_conversation_a_status_shows_the_head_that_commands_act_on(talk: Talk) -> None:
    number, first = await talk.open_pull({"a": "1"})
    shown = talk.living_comment(number)
    talk.github.lock_pull(talk.repository, number, talk.ada)

    head = await talk.push({"a": "2"}, "feature")
    said = await talk.status(head, "blacktree/commands", "success")
    await talk.announced(number, head)

    assert said == (
        "The conversation is locked, so no comment shows this commit: commands that follow may act on it"
    )
    await talk.accepted(number, "/deploy staging")
    assert [run.sha for run in await talk.runs() if run.cause == "command /deploy"] == [head]
    assert talk.living_comment(number) == shown, "nobody may edit it"
    assert "blacktree/commands" not in talk.github.latest_statuses(talk.repository, first)


async def test_a_conversation_that_was_locked_from_the_start_takes_commands_too(talk: Talk) -> None:
    await talk.work.checkout("feature", create=True)
    head = await talk.push({"a": "1"}, "feature")
    hook, talk.github.app.hook_url = talk.github.app.hook_url, None
    number = await talk.github.open_pull(talk.repository, talk.ada, head="feature")
    talk.github.lock_pull(talk.repository, number, talk.ada)
    talk.github.app.hook_url = hook

    assert await talk.refused(number, "/deploy staging") == (
        f"this head has not been announced yet; try again now that it is, or name it: {head}"
    )
    await talk.announced(number, head)
    await talk.accepted(number, "/deploy staging")


async def test_a_named_head_is_deployed_to_the_named_environment(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})

    await talk.accepted(number, f"/deploy staging {head}")

    run = (await talk.runs())[-1]
    assert (run.cause, run.sha, run.actor) == ("command /deploy", head, "ada")
    assert [job.environment for job in await talk.jobs(run)] == [None, "staging"]
    preview = await talk.jobs((await talk.runs())[0])
    assert all(job.state is not JobState.CANCELLED for job in preview), "the preview goes on"


async def test_a_refusal_names_every_closed_gate_and_what_opens_it(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    said = await talk.refused(number, "/deploy production")

    assert "review: no review approves of this commit; an approving review opens it" in said
    assert "order: staging does not run this commit; deploy it to staging first" in said


async def test_approval_by_another_and_green_checks_open_their_gates(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})
    talk.repository.collaborators["eve"] = "write"
    eve = talk.github.user("eve")

    said = await talk.refused(number, "/deploy guarded")
    assert "checks: ci is not there yet" in said
    assert f"/approve {head} by somebody else" in said

    talk.github.check_run(talk.repository, head, "ci", "success")
    await talk.done(number, f"/approve {head}")
    assert "approval" in await talk.refused(number, "/deploy guarded"), "the author's own is not enough"
    await talk.done(number, f"/approve {head[:10]}", eve)
    await talk.accepted(number, "/deploy guarded")


async def test_a_review_opens_its_gate_only_for_the_commit_that_it_saw(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})
    talk.repository.collaborators["eve"] = "write"
    talk.github.review(talk.repository, number, talk.github.user("eve"), "APPROVED", sha=head)
    assert "review" not in await talk.refused(number, "/deploy production")

    new = await talk.push({"a": "2"}, "feature")
    await talk.announced(number, new)

    assert "review" in await talk.refused(number, "/deploy production")


async def test_a_deploy_that_wants_confirmation_waits_for_a_reaction_of_its_author(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    eve = talk.github.user("eve")

    comment = await talk.accepted(number, "/deploy sure")
    await talk.shown(number, "confirms it")
    talk.github.react(talk.repository, comment, eve, "+1")
    assert (await talk.runs())[-1].cause == "pull_request"
    talk.github.react(talk.repository, comment, talk.ada, "+1")

    await talk.until_reason("working on")
    assert (await talk.runs())[-1].cause == "command /deploy"
    assert len(await talk.commands()) == 1


async def test_a_lock_holds_commands_of_others_and_says_by_whom_and_why(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    talk.repository.collaborators["eve"] = "write"
    eve = talk.github.user("eve")

    await talk.done(number, "/lock staging the fair is on")
    said = await talk.refused(number, "/deploy staging", eve)

    assert "staging is locked by ada since" in said
    assert ": the fair is on; /unlock staging frees it" in said
    assert "the fair is on" in await talk.done(number, "/lock staging --info", eve)
    await talk.accepted(number, "/deploy staging")
    await talk.done(number, "/unlock staging", eve)
    assert await talk.locks() == []


async def test_a_global_lock_holds_every_environment(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    talk.repository.collaborators["eve"] = "write"

    await talk.done(number, "/lock --global freeze")

    assert "every environment is locked by ada" in await talk.refused(
        number, "/deploy staging", talk.github.user("eve")
    )


async def test_plan_says_what_a_deploy_would_do_and_does_nothing(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})
    before = len(await talk.runs())

    said = await talk.done(number, "/plan production")

    for line in (
        f"production would run {head[:7]}",
        "builds app",
        "nothing runs there now",
        "held by review",
    ):
        assert line in said
    assert len(await talk.runs()) == before


async def test_cancel_ends_what_the_pull_request_does(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})

    await talk.done(number, "/cancel")

    assert {job.state for job in await talk.jobs((await talk.runs())[0])} == {JobState.CANCELLED}
    assert await talk.status(head, "blacktree/build", "error") == "Cancelled by ada"


async def test_extend_moves_the_end_of_a_preview(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert "the preview stays until" in await talk.done(number, "/extend 24h")
    assert "soon" in await talk.refused(number, "/extend soon")


async def test_going_back_needs_somewhere_to_go_back_to(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})

    assert "no earlier release" in await talk.refused(number, "/rollback production")
    assert "runs nothing" in await talk.refused(number, "/promote staging production")
    assert "nothing failed" in await talk.refused(number, "/retry")
    assert (
        await talk.refused(number, "/deploy stagin")
        == "there is no environment stagin. Did you mean staging?"
    )


async def test_the_head_is_read_again_before_a_job_is_given_to_a_worker(talk: Talk) -> None:
    number, head = await talk.open_pull({"a": "1"})
    await talk.accepted(number, f"/deploy staging {head}")
    run = (await talk.runs())[-1]
    job = await talk.queued((await talk.jobs(run))[0])
    hook, talk.github.app.hook_url = talk.github.app.hook_url, None  # nobody tells us of the next push
    new = await talk.push({"a": "2"}, "feature")
    talk.github.app.hook_url = hook

    key = bytes(PrivateKey.generate().public_key).hex()
    claim = Claim(job=job.id, worker="w", instance="i", nonce="n", public_key=key)
    answer = await talk.queue.request(claim, 60)

    assert isinstance(answer, Refusal)
    assert answer.reason == f"Not run: the head has moved to {new[:7]}"
    assert {job.state for job in await talk.jobs(run)} == {JobState.CANCELLED}
    assert (await talk.commands())[-1].state is CommandState.FAILED


async def test_an_edited_comment_does_nothing(talk: Talk) -> None:
    number, _ = await talk.open_pull({"a": "1"})
    comment = await talk.github.comment(talk.repository, number, talk.ada, "fine")

    await talk.github.edit_comment(talk.repository, comment, talk.ada, "/deploy staging")

    await talk.until_reason("ignored: only a new comment gives commands")
    assert await talk.commands() == []


async def test_a_forks_commit_waits_for_an_approval_of_exactly_it_and_then_gets_nothing_secret(
    talk: Talk, tmp_path: Path
) -> None:
    github = talk.github
    eve = github.user("eve")
    talk.repository.collaborators["eve"] = "read"
    fork = await github.fork(talk.repository, eve)
    work = await fork.clone(tmp_path / "fork", eve)
    await work.checkout("evil", create=True)
    evil = FILE.replace("preview: {}", "preview: {secrets: [TOKEN], env: {A: stolen}}")
    head = await work.commit({"a": "1", ".blacktree.yml": evil}, message="Change")
    await work.push(branch="evil")

    number = await github.open_pull(talk.repository, eve, head="eve:evil")

    assert f"/approve {head}" in await talk.status(head, "blacktree/build", "pending")
    await talk.shown(number, f"/approve {head}")
    assert await talk.runs() == []
    assert "write access" in await talk.refused(number, f"/approve {head}", eve)
    assert "the whole commit" in await talk.refused(number, f"/approve {head[:7]}")
    assert "name the commit" in await talk.refused(number, "/deploy")

    await talk.accepted(number, f"/approve {head}")

    (run,) = await talk.runs()
    build, deploy = await talk.jobs(run)
    assert run.fork
    assert build.spec["tags"] == [head]
    assert deploy.spec["secrets"] == []
    assert deploy.spec["env"] == {}, "what it may do is the base branch's to say"

    newer = await work.commit({"a": "2"}, message="More")
    await work.push(branch="evil")
    assert f"/approve {newer}" in await talk.status(newer, "blacktree/build", "pending")
    assert len(await talk.runs()) == 1
