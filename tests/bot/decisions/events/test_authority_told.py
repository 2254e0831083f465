"""People with write access push files that say they may do more; over HTTP, to a bot without a worker."""

from __future__ import annotations

import json
from typing import Any

from sqlmodel import col, select

from bot.store.tables import Job, Mark
from bot.sweeps import thaws
from tests.bot.talk import Talk
from workers.contract.messages import Kind, now

FILE = """
images:
  app: {tags: ["{branch}", latest, "pr-{pr}", "at-{sha}", "{short_sha}"], secrets: [NPM_TOKEN]}
environments:
  production:
    on: [command, tag]
    tags: ["v*"]
    secrets: [DB_PASSWORD]
    gates: {approval: true}
    deployers: [grace]
  staging: {branches: [next], secrets: [STAGING_KEY], domain: staging.test}
  wide: {branches: ["**"]}
  preview: {domain: "pr-{pr}.test", secrets: [PREVIEW_KEY]}
"""
EVIL = """
images:
  app: {dockerfile: Dockerfile.evil, tags: [latest, main], secrets: [DB_PASSWORD]}
environments:
  production: {branch: evil, tags: ["*"], secrets: [DB_PASSWORD], command: [env]}
  staging:
    {branch: evil, branches: [next], command: [serve], secrets: [DB_PASSWORD], domain: a.test, networks: [n]}
  madeup: {branch: evil, secrets: [DB_PASSWORD]}
  preview: {domain: "x-{pr}.test", secrets: [DB_PASSWORD], networks: [backend], command: [serve], most: 1000}
pool: production
schedules: [{cron: "* * * * *", environment: madeup}]
"""
DEPLOY = "blacktree/deploy (production)"


async def deploys(talk: Talk) -> dict[str, Job]:
    """Every deploy that was ever planned, the newest of each environment."""
    jobs = await talk._all(select(Job).where(Job.kind == Kind.DEPLOY).order_by(col(Job.created_at)))
    return {job.name: job for job in jobs}


async def built(talk: Talk) -> Job:
    """The newest build."""
    jobs = await talk._all(select(Job).where(Job.kind == Kind.BUILD).order_by(col(Job.created_at)))
    newest: Job = jobs[-1]
    return newest


async def test_a_branch_that_says_production_takes_it_reaches_nothing_that_main_does_not_give_it(
    talk: Talk,
) -> None:
    await talk.work.checkout("evil", create=True)
    sha = await talk.push({".blacktree.yml": EVIL, "Dockerfile.evil": "FROM scratch\n"}, "evil")

    await talk.until_reason(f"runs {sha[:7]} of evil")
    assert set(await deploys(talk)) == {"wide"}, "all that main lets any branch reach"
    for name in ("production", "staging", "madeup"):
        said = await talk.status(sha, f"blacktree/deploy ({name})", "success")
        assert said == "Not deployed: main's .blacktree.yml decides, and does not let evil reach it"
    build = await built(talk)
    assert build.spec["dockerfile"] == "Dockerfile.evil", "how it is built is its own"
    assert (build.spec["secrets"], build.pool) == (["NPM_TOKEN"], "default")
    assert build.spec["tags"] == [sha, "evil", f"at-{sha}"], "main's templates, as far as they name it"


async def test_a_branch_that_reaches_an_environment_says_how_it_runs_and_nothing_else(talk: Talk) -> None:
    await talk.work.checkout("next", create=True)
    sha = await talk.push({".blacktree.yml": EVIL, "Dockerfile.evil": "FROM scratch\n"}, "next")

    await talk.until_reason(f"runs {sha[:7]} of next")
    staging = (await deploys(talk))["staging"].spec
    assert staging["command"] == ["serve"]
    assert (staging["secrets"], staging["domain"], staging["networks"]) == (
        ["STAGING_KEY"],
        "staging.test",
        [],
    )
    asked = [one.query.get("ref") for one in talk.github.requests if "/contents/" in one.path]
    assert sorted(map(str, asked)) == sorted([sha, talk.first]), "each file is asked for once"


async def test_a_tags_commit_says_not_which_tags_reach_production_nor_what_holds_it(talk: Talk) -> None:
    await talk.work.checkout("evil", create=True)
    sha = await talk.work.commit({".blacktree.yml": EVIL, "Dockerfile.evil": "FROM scratch\n"})
    for tag in ("anything", "v9"):
        await talk.work.tag(tag)
        await talk.work.push(tag)

    await talk.until_reason("ignored: no environment takes the tag anything")
    said = await talk.status(sha, DEPLOY, "failure")
    assert "deployers: ada may not deploy here" in said
    assert "production" not in await deploys(talk)


async def test_a_pull_requests_file_changes_how_its_preview_runs_and_its_comment_says_what_does_not_count(
    talk: Talk,
) -> None:
    await talk.work.checkout("feature", create=True)
    sha = await talk.push({".blacktree.yml": EVIL, "Dockerfile.evil": "FROM scratch\n"}, "feature")
    number = await talk.github.open_pull(talk.repository, talk.ada, head="feature")

    await talk.until_reason(f"runs {sha[:7]} of #{number}")
    preview = (await deploys(talk))[f"pr-{number}"].spec
    assert (preview["command"], preview["secrets"], preview["networks"]) == (["serve"], ["PREVIEW_KEY"], [])
    assert (preview["domain"], preview["most"]) == ("pr-{pr}.test", 20)
    build = (await built(talk)).spec
    assert build["tags"] == [sha, f"pr-{number}", f"at-{sha}"], "no tag that is another's"
    assert (build["secrets"], build["preview"]) == (["NPM_TOKEN"], True)
    await talk.shown(number, "do not count before they are on main: ")
    assert "environments.preview.domain" in talk.living_comment(number)


async def test_commands_know_the_environments_of_main_alone_and_its_gates(talk: Talk) -> None:
    files: dict[str, str | None] = {".blacktree.yml": EVIL, "Dockerfile.evil": "FROM scratch\n"}
    number, sha = await talk.open_pull(files)

    for line in ("/deploy madeup", "/plan madeup", "/lock madeup"):
        assert "there is no environment madeup" in await talk.refused(number, line)
    said = await talk.refused(number, f"/deploy production {sha}")
    assert "deployers: ada may not deploy here" in said
    assert "approval: nobody has approved this commit" in said
    assert "held by deployers" in await talk.done(number, "/plan production")
    await talk.accepted(number, f"/build {sha}")
    assert (await built(talk)).spec["tags"] == [sha, f"pr-{number}", f"at-{sha}"]
    await talk.accepted(number, f"/deploy staging {sha}")
    assert (await deploys(talk))["staging"].spec["secrets"] == ["STAGING_KEY"]


async def test_a_branch_called_latest_moves_no_tag_of_that_name_by_a_command(talk: Talk) -> None:
    plain = FILE.replace('{tags: ["{branch}", latest, "pr-{pr}", "at-{sha}", "{short_sha}"], ', "{")
    await talk.push({".blacktree.yml": plain})
    await talk.work.checkout("latest", create=True)
    sha = await talk.push({"a": "1"}, "latest")
    number = await talk.github.open_pull(talk.repository, talk.ada, head="latest")
    await talk.announced(number, sha)

    await talk.accepted(number, f"/deploy staging {sha}")

    assert (await built(talk)).spec["tags"] == [sha, f"pr-{number}"]


async def test_a_merge_queues_branch_is_deployed_by_no_glob_and_its_group_moves_no_tag(talk: Talk) -> None:
    queue = f"gh-readonly-queue/main/pr-1-{talk.first}"
    await talk.work.checkout("queued", create=True)
    sha = await talk.work.commit({"a": "1"})
    await talk.work.push(f"HEAD:refs/heads/{queue}")
    await talk.github.merge_group(talk.repository, "main", sha)

    await talk.until_reason(f"ignored: no environment takes pushes to {queue}")
    await talk.until_reason("of the merge queue")
    assert await deploys(talk) == {}
    build = (await built(talk)).spec
    assert build["tags"] == [sha, f"at-{sha}"]
    assert build["preview"], "what is not merged gets the secrets of previews"


async def test_while_mains_file_is_broken_nothing_else_decides_in_its_place(talk: Talk) -> None:
    await talk.push({".blacktree.yml": "environments: {production: {prot: 80}}\n"}, message="[skip ci]")
    await talk.work.checkout("evil", create=True)
    sha = await talk.push({".blacktree.yml": EVIL}, "evil")

    said = await talk.status(sha, "blacktree/build", "failure")

    assert said.startswith("main decides, and its file cannot be used: .blacktree.yml:1: ")
    assert await talk.runs() == []


FROZEN = """
environments:
  production:
    deployers: [ada]
    freeze: [{cron: "* * * * *", lasts: 365d, reason: the fair}]
"""


async def _thaw(talk: Talk) -> None:
    async with talk.store.transaction() as session:
        mark = (await session.exec(select(Mark).where(col(Mark.name).startswith("thaw:")))).one()
        mark.value = json.dumps({**json.loads(mark.value), "until": now().isoformat()})
    await thaws.sweep(talk.store)


async def _melted(talk: Talk, user: Any) -> str:
    """Push the end of the freeze, as somebody; the commit."""
    work = await talk.repository.clone(talk.work.path.parent / user.login, user)
    sha = await work.commit(
        {".blacktree.yml": FROZEN.replace("* * * * *", "0 0 29 2 *").replace("365d", "1s")}
    )
    await work.push(branch="main")
    return sha


async def test_what_a_freeze_held_goes_out_as_the_wish_of_who_pushed_it(talk: Talk) -> None:
    sha = await talk.push({".blacktree.yml": FROZEN})
    assert (await talk.status(sha, DEPLOY, "error")).startswith("Held by freeze: the fair")
    talk.repository.collaborators["eve"] = "write"
    newer = await _melted(talk, talk.github.user("eve"))
    assert "deployers: eve may not deploy here" in await talk.status(newer, DEPLOY, "failure")

    await _thaw(talk)

    await talk.until_reason(
        "the freeze is over; blacktree/deploy (production): Held by deployers: who wants this"
    )
    assert "production" not in await deploys(talk)


async def test_a_pull_request_that_brings_previews_is_told_that_they_begin_with_its_merge(talk: Talk) -> None:
    await talk.push({".blacktree.yml": "environments: {production: {on: [command]}}\n"})
    await talk.work.checkout("feature", create=True)
    await talk.push({".blacktree.yml": FILE}, "feature")

    number = await talk.github.open_pull(talk.repository, talk.ada, head="feature")

    await talk.until_reason("ignored: the repository has no previews")
    await talk.shown(number, "do not count before they are on main: ")
    assert "environments.preview" in talk.living_comment(number)


async def test_services_that_the_default_branchs_swarm_can_not_have_are_told_before_anything_is_built(
    talk: Talk,
) -> None:
    await talk.push({".blacktree.yml": "environments: {preview: {target: swarm}}"})
    theirs = "environments: {preview: {services: {db: 'postgres:17'}}}"
    number, sha = await talk.open_pull({".blacktree.yml": theirs})

    said = await talk.status(sha, "blacktree/build", "failure")
    assert "environments.preview.services: run beside containers, not on a swarm" in said
    assert "run beside containers, not on a swarm" in await talk.refused(number, "/plan")
    assert not [job for job in await talk._all(select(Job)) if job.sha == sha]
