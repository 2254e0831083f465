"""Processes in a conversation: what a plan changes, what runs, what an instance without a proxy refuses."""

from __future__ import annotations

from bot.store.tables import ContainerRow, Release
from tests.bot.decisions.commands.test_promotions_told import live
from tests.bot.talk import Talk
from workers.contract.messages import Kind

FILE = """
images: {web: {dockerfile: Dockerfile}, api: {dockerfile: Dockerfile}}
environments:
  production: {image: api, processes: {web: {image: web}, worker: [work], clock: [tick]}}
  preview: {image: api}
"""


async def test_a_plan_names_all_images_and_the_processes_that_change_and_status_counts_what_runs(
    talk: Talk,
) -> None:
    sha = await talk.push({"a": "1"})
    await talk.until_run("push")
    release = await live(talk, "production", sha)
    async with talk.store.transaction() as session:
        row = await session.get_one(Release, release)
        row.worker = "one"
        session.add(ContainerRow(worker="one", name="c", release_id=release, process="worker", running=True))
    number, _ = await talk.open_pull({".blacktree.yml": FILE.replace("[tick]", "[tock]")})

    planned = await talk.done(number, "/plan production")

    assert "builds api\nbuilds web" in planned
    assert "settings that change: processes.clock" in planned
    assert ": web 0 of 1, worker 1 of 1, clock 0 of 1" in await talk.done(number, "/status")


async def test_a_deploy_waits_for_the_builds_of_all_its_images(talk: Talk) -> None:
    await talk.push({"a": "1"})
    await talk.until_run("push")
    jobs = await talk.jobs((await talk.runs())[0])
    builds = sorted(job.id for job in jobs if job.kind is Kind.BUILD)
    [deploy] = [job for job in jobs if job.kind is Kind.DEPLOY]
    assert (sorted(deploy.needs), deploy.unmet) == (builds, 2)


async def test_without_a_proxy_a_file_that_asks_for_paths_is_a_failed_status(talk: Talk) -> None:
    asks = FILE.replace("worker: [work]", "worker: {path: /api}")
    sha = await talk.push({".blacktree.yml": asks})
    said = await talk.status(sha, "blacktree/build", "failure")
    assert said.startswith(
        ".blacktree.yml: environments.production.processes.worker: this instance has no proxy"
    )
