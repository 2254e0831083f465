"""Builds of different trust share nothing, on the real shape: bot, workers, RabbitMQ and a registry."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.integration.test_environments import _order, _place, _runs
from tests.integration.test_truths import DEPLOY
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry

_SHARED = BASE_IMAGE.partition(":")[0]


async def test_a_forks_image_goes_to_no_registry_and_runs_where_it_was_built(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, clean_engine: Engine
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry, shared_images=_SHARED) as fleet:
        await fleet.start("serve")
        await fleet.ready()
        await fleet.start("worker", "one")
        await fleet.start("worker", "two")
        before = registry.get("/v2/_catalog?n=1000").json()
        number, head = await _forks_pull(developer, tmp_path)
        await developer.status(head, "blacktree/build", "pending")

        await developer.github.comment(developer.repository, number, developer.user, f"/approve {head}")

        place = await _runs(fleet, f"pr-{number}", head)
        assert (await visit(place["url"])).strip() == "eve's"
        build, deploy = await fleet.job("build", "succeeded"), await fleet.job("deploy", "succeeded")
        assert build["worker"] == deploy["worker"] == place["worker"]
        assert place["release"]["image"] == build["image"]["digest"], "the engine's own name of it"
        assert registry.get("/v2/_catalog?n=1000").json() == before
        names = [
            tag for image in clean_engine.images("io.blacktree.repository=acme/shop") for tag in image.tags
        ]
        assert names == [f"{registry.address}/acme/acme/shop/app_fork-{number}:{head}"]


async def test_what_a_pull_request_built_is_not_what_its_merge_brings_out(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    _, head = await developer.open_pull({"Dockerfile": dockerfile("RUN echo one"), PAGE: "merged"})
    await developer.status(head, "blacktree/deploy (preview)", "success")

    await developer.work.push("HEAD:main")  # the very commit, as a merge that moves the branch forward

    place = await _runs(blacktree, "production", head)
    assert (await visit(place["url"])).strip() == "merged"
    builds = [job for job in await blacktree.jobs() if job["kind"] == "build"]
    told = await blacktree.text(f"/jobs/{builds[-1]['id']}/log")
    assert len(builds) == 2
    assert "built before" not in told, "builds of each trust build their own"
    assert "cached  [2/3]" not in told, "a step's layer is for builds of one trust"


async def test_a_rollback_brings_back_what_was_deployed_under_a_name_of_before(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, clean_engine: Engine
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry) as fleet:
        await fleet.start("serve")
        await fleet.ready()
        await fleet.start("worker", "one")
        old = await developer.push({PAGE: "old"})
        url = (await developer.status(old, DEPLOY, "success")).removeprefix("Live at ")
        image = str((await _place(fleet, "production"))["release"]["image"])
        before = _renamed(clean_engine, registry, fleet, image)
        new = await developer.push({PAGE: "new"})
        await _runs(fleet, "production", new)
        assert (await visit(url)).strip() == "new"

        async def drained() -> bool:
            return len(clean_engine.containers("io.blacktree.repository=acme/shop")) == 1

        await fleet.until(drained, "the old release's container to be gone")
        clean_engine.client.images.remove(str(clean_engine.client.images.get(before).id), force=True)

        await _order(fleet, f"/environments/{(await _place(fleet, 'production'))['id']}/rollback", why="ugly")

        place = await _runs(fleet, "production", old)
        assert (await visit(url)).strip() == "old"
        assert place["release"]["image"] == before


def _renamed(engine: Engine, registry: Registry, fleet: Instance, image: str) -> str:
    """The image and its releases get the name that older versions gave them: the owner is not in it."""
    digest = image.partition("@")[2]
    name = f"{registry.address}/acme/shop"
    engine.client.api.tag(image, name, "before")
    engine.client.login(registry.username, registry.password, registry=registry.address)
    engine.client.images.push(name, "before")
    assert registry.digest("acme/shop", "before") == digest
    with sqlite3.connect(fleet.folder / "serve" / "blacktree.db", timeout=30) as store:
        for table, column in (("images", "reference"), ("releases", "image")):
            store.execute(f"UPDATE {table} SET {column} = ?", (f"{name}@{digest}",))  # noqa: S608
    return f"{name}@{digest}"


async def _forks_pull(developer: Developer, folder: Path) -> tuple[int, str]:
    """A stranger's pull request, which waits; its number and head."""
    github, eve = developer.github, developer.github.user("eve")
    developer.repository.collaborators["eve"] = "read"
    fork = await github.fork(developer.repository, eve)
    work = await fork.clone(folder / "fork", eve)
    await work.checkout("idea", create=True)
    head = await work.commit({PAGE: "eve's"}, message="An idea")
    await work.push(branch="idea")
    return await github.open_pull(developer.repository, eve, head="eve:idea"), head
