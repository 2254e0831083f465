"""Commands whose effect is a container, on the embedded defaults."""

from __future__ import annotations

from pathlib import Path

from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, visit
from tests.parts.engine import BASE_IMAGE

FILE = """
environments:
  preview: {}
  staging: {on: [command]}
  production: {on: [command], gates: {after: staging}}
"""


async def _say(developer: Developer, number: int, body: str) -> None:
    """Comment, and wait until it was done."""
    comment = await developer.github.comment(developer.repository, number, developer.user, body)
    told = await developer.github.until(
        lambda: {one.content for one in developer.github.reactions(comment)} & {"rocket", "confused"},
        timeout=120,
    )
    assert told == {"rocket"}, developer.github.comments(developer.repository, number)[0].body


async def _url(blacktree: Instance, name: str) -> str:
    places = {place["name"]: place["url"] for place in await blacktree.api("/environments")}
    return str(places[name])


async def test_one_image_goes_to_staging_then_to_production_and_back_again(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    await developer.push({".blacktree.yml": FILE})
    number, one = await developer.open_pull({PAGE: "one"})
    await developer.status(one, "blacktree/deploy (preview)", "success")

    await _say(developer, number, f"/deploy staging {one}")
    await _say(developer, number, "/promote staging production")
    built = [job for job in await blacktree.jobs() if job["kind"] == "build"]
    assert len(built) == 2, "the preview's and staging's; a promotion builds nothing"
    assert (await visit(await _url(blacktree, "production"))).strip() == "one"

    two = await developer.push({PAGE: "two"}, "feature")
    await developer.status(two, "blacktree/deploy (preview)", "success")
    await _say(developer, number, f"/deploy staging {two}")
    assert (await visit(await _url(blacktree, "staging"))).strip() == "two"

    await _say(developer, number, "/rollback staging")

    assert (await visit(await _url(blacktree, "staging"))).strip() == "one"
    assert len([job for job in await blacktree.jobs() if job["kind"] == "build"]) == 4


async def test_a_forks_approved_commit_is_built_from_the_fork_and_shown(
    developer: Developer, blacktree: Instance, tmp_path: Path
) -> None:
    await blacktree.start("up", shared_images=BASE_IMAGE.partition(":")[0])
    await blacktree.ready()
    github, eve = developer.github, developer.github.user("eve")
    developer.repository.collaborators["eve"] = "read"
    fork = await github.fork(developer.repository, eve)
    work = await fork.clone(tmp_path / "fork", eve)
    await work.checkout("idea", create=True)
    head = await work.commit({PAGE: "eve's"}, message="An idea")
    await work.push(branch="idea")
    number = await github.open_pull(developer.repository, eve, head="eve:idea")
    assert f"/approve {head}" in await developer.status(head, "blacktree/build", "pending")

    await _say(developer, number, f"/approve {head}")

    assert (await visit(await _url(blacktree, f"pr-{number}"))).strip() == "eve's"
