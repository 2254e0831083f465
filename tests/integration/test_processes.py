"""An app of three processes in two images, as its developer and its visitors see it."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx2

from tests.instance import Instance
from tests.integration.conftest import Developer, visit
from tests.parts.engine import BASE_IMAGE, Engine

DEPLOY = "blacktree/deploy (production)"
WORK = "while :; do echo works; sleep 1; done"


def image(page: str) -> str:
    """A web server with the page of its folder, at / and at /api/."""
    served = f"COPY {page} /www/index.html\nCOPY {page} /www/api/index.html\nEXPOSE 8080"
    return f'FROM {BASE_IMAGE}\n{served}\nCMD ["httpd", "-f", "-p", "8080", "-h", "/www"]\n'


def app(work: str = WORK, *, stability: int = 4) -> str:
    return f"""
images:
  web: {{dockerfile: web.dockerfile}}
  api: {{dockerfile: api.dockerfile}}
environments:
  production:
    image: api
    release_command: [sh, -c, "cat /www/index.html"]
    stability: {stability}
    drain: 6
    processes:
      web: {{image: web}}
      api: {{path: /api, replicas: 2}}
      worker: {{command: [sh, -c, "{work}"], health: {{lasts: 1}}, limits: {{memory: 32m}}}}
"""


def files(version: str, work: str = WORK, *, stability: int = 4) -> dict[str, str | None]:
    return {
        "web.dockerfile": image("web.html"),
        "api.dockerfile": image("api.html"),
        "web.html": f"web {version}\n",
        "api.html": f"api {version}\n",
        ".blacktree.yml": app(work, stability=stability),
    }


async def _seen(url: str) -> tuple[str, str]:
    """What visitors get from the two that they reach."""
    return (await visit(url)).strip(), (await visit(url, "/api/")).strip()


async def _production(blacktree: Instance) -> dict[str, Any]:
    return next(one for one in await blacktree.api("/environments") if one["name"] == "production")


def _running(engine: Engine) -> list[str]:
    found = engine.containers("io.blacktree.repository=acme/shop")
    return sorted(one.labels["io.blacktree.process"] for one in found if one.status == "running")


async def _only_one(engine: Engine) -> bool:
    """Whether one release runs, and nothing else."""
    return _running(engine) == ["api", "api", "web", "worker"]


async def test_processes_of_two_images_go_live_fail_and_go_back_together(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()

    first = await developer.push(files("1"))

    url = (await developer.status(first, DEPLOY, "success")).removeprefix("Live at ")
    assert await _seen(url) == ("web 1", "api 1")
    for name in ("web", "api"):
        await developer.status(first, f"blacktree/build ({name})", "success")
    place = await _production(blacktree)
    assert sorted(one["process"] for one in place["containers"]) == ["api", "api", "web", "worker"]

    bad = await developer.push(files("bad", "echo no queue; exit 3"))

    said = await developer.status(bad, DEPLOY, "failure")
    assert said.startswith("check: worker: The container ended with exit code 3")
    assert await _seen(url) == ("web 1", "api 1")
    await blacktree.until(partial(_only_one, clean_engine), "the failed release to have gone")

    second = await developer.push(files("2"))

    await developer.status(second, DEPLOY, "success")
    assert await _seen(url) == ("web 2", "api 2")

    # Long enough to be seen to live, and short enough to be seen to end.
    crashing = await developer.push(files("3", "sleep 15; echo out of luck; exit 4", stability=40))

    said = await developer.status(crashing, DEPLOY, "failure")
    assert said.startswith("Went live, then 1 of 4 containers (worker): it restarted")
    assert said.endswith(f"rolled back to {second[:7]}")
    assert await _seen(url) == ("web 2", "api 2")

    async with httpx2.AsyncClient(timeout=60) as http:
        path = f"{blacktree.url}/api/v1/environments/{place['id']}/rollback"
        answer = await http.post(path, json={"release": first}, headers=blacktree.headers)
    assert answer.status_code == 202, answer.text

    async def back() -> bool:
        return bool((await _production(blacktree))["release"]["sha"] == first)

    await blacktree.until(back, "the first release to serve again")
    assert await _seen(url) == ("web 1", "api 1")
    assert len([job for job in await blacktree.jobs() if job["kind"] == "build"]) == 8, "it built nothing"

    await blacktree.until(partial(_only_one, clean_engine), "all others to have gone")


PREVIEW = """
images:
  web: {dockerfile: web.dockerfile}
  api: {dockerfile: api.dockerfile}
environments:
  preview: {processes: {web: {image: web}, api: {image: api, path: /api}}, sleep: 1s, stability: 0}
"""


async def test_the_processes_of_a_preview_sleep_together_and_a_visitor_of_any_wakes_all(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    number, head = await developer.open_pull(files("1") | {".blacktree.yml": PREVIEW})
    await developer.status(head, "blacktree/deploy (preview)", "success")

    async def place() -> dict[str, Any]:
        return next(one for one in await blacktree.api("/environments") if one["name"] == f"pr-{number}")

    async def asleep() -> bool:
        return bool((await place())["asleep"]) and not _running(clean_engine)

    await blacktree.until(asleep, "all of the preview to sleep")
    url = (await place())["url"]
    assert "wakes up" in await visit(url, "/api/")

    async def awake() -> bool:
        return await _seen(url) == ("web 1", "api 1")

    await blacktree.until(awake, "both processes to be awake")


CLOCK = """
images: {web: {dockerfile: web.dockerfile}}
environments:
  production:
    drain: 2
    stability: 0
    processes:
      web: {}
      clock: {command: [sh, -c, "sleep 3600"], overlap: false, grace: 1, health: {lasts: 1}}
"""


async def test_what_runs_alone_still_does_after_a_deploy_and_a_kill_of_all_of_blacktree(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    up = await blacktree.start("up")
    await blacktree.ready()
    for version in ("1", "2"):
        sha = await developer.push(files(version) | {".blacktree.yml": CLOCK})
        url = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
        assert (await visit(url)).strip() == f"web {version}"
        assert _running(clean_engine).count("clock") == 1

    await up.kill()
    await up.start()
    await blacktree.ready()

    async def alone() -> bool:
        return _running(clean_engine) == ["clock", "web"]

    await blacktree.until(alone, "what drained to have gone, and nothing else")
    assert (await visit(url)).strip() == "web 2"
