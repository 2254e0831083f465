"""An image that Actions push: waited for over a killed bot, deployed, and pulled again to go back to."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2

from config.trust import trusted
from tests.instance import instance
from tests.integration.conftest import Developer, visit
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry
from tests.workers.deploy.storeroom import Storeroom

BUILD, DEPLOY = "blacktree/build", "blacktree/deploy (production)"
SERVE = "mkdir /www; echo {0} > /www/index.html; exec httpd -f -p 6000 -h /www"


class Actions:
    """What builds at GitHub: it says that it begins, pushes, and says that it has succeeded."""

    def __init__(self, developer: Developer, store: Storeroom) -> None:
        self._developer = developer
        self._store = store

    def begin(self, sha: str) -> None:
        self._developer.github.check_run(self._developer.repository, sha, "build", None)

    def end(self, sha: str, page: str) -> None:
        self._store.image(f"elsewhere/app:{sha}", SERVE.format(page))
        self._developer.github.check_run(self._developer.repository, sha, "build")


async def test_what_actions_push_is_waited_for_deployed_and_gone_back_to(
    developer: Developer, tmp_path: Path, clean_engine: Engine, registry: Registry
) -> None:
    login = {"username": registry.username, "password": registry.password}
    auths = json.dumps({"auths": {registry.address: login}})
    source = f"{registry.address}/elsewhere/app"
    config = {
        "images": {"app": {"from": source, "check": "build"}},
        "environments": {"production": {"stability": 0}},
    }
    actions = Actions(developer, Storeroom(clean_engine, registry, BASE_IMAGE, {}))
    async with instance(tmp_path, developer.github, registry_auths=auths) as blacktree:
        up = await blacktree.start("up")
        await blacktree.ready()
        first = await developer.push({".blacktree.yml": json.dumps(config), "Dockerfile": None})
        actions.begin(first)
        assert await developer.status(first, BUILD, "pending") == f"Waiting for {source}:{first}"
        await up.kill()
        await blacktree.start("up")
        await blacktree.ready()
        actions.end(first, "one")
        url = (await developer.status(first, DEPLOY, "success")).removeprefix("Live at ")
        assert (await visit(url)).strip() == "one"

        second = await developer.push({"a": "2"})
        actions.end(second, "two")
        await developer.status(second, DEPLOY, "success")
        assert (await visit(url)).strip() == "two"

        async def retired() -> bool:
            return len(clean_engine.containers("io.blacktree.worker=up")) == 1

        await blacktree.until(retired, "the first release to go")
        old = f"{source}@{registry.digest('elsewhere/app', first)}"
        clean_engine.client.images.remove(str(clean_engine.client.images.get(old).id), force=True)
        [place] = await blacktree.api("/environments")
        async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
            path = f"{blacktree.url}/api/v1/environments/{place['id']}/rollback"
            said = {"actor": "ada", "why": "ugly"}
            answer = await http.post(path, json=said, headers=blacktree.headers)
            assert answer.is_success, answer.text

        async def back() -> bool:
            return (await visit(url)).strip() == "one"

        await blacktree.until(back, "the first image to be pulled again")

        async def over() -> bool:
            return {job["state"] for job in await blacktree.jobs()} == {"succeeded"}

        await blacktree.until(over, "every job to have succeeded")
        jobs = await blacktree.jobs()
        assert sorted(job["attempt"] for job in jobs if job["kind"] == "deploy") == [1, 1, 1]
