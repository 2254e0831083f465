"""What environments live through, on the embedded defaults and on a fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2

from config.trust import trusted
from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.registry import Registry

DEPLOY = "blacktree/deploy (production)"
FILE = """
environments:
  preview: {sleep: 1s, stability: 0}
  staging: {on: [command], stability: 2}
  production: {stability: 8}
"""
# Healthy for as long as it takes to go live, then it ends, again and again.
CRASHES = dockerfile().replace(
    'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]',
    'CMD ["sh", "-c", "timeout 15 httpd -f -p 8080 -h /www; echo out of luck; exit 3"]',
)


async def _order(blacktree: Instance, path: str, expected: int = 202, **body: Any) -> dict[str, Any]:
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        answer = await http.post(f"{blacktree.url}/api/v1{path}", json=body, headers=blacktree.headers)
    assert answer.status_code == expected, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def _place(blacktree: Instance, name: str) -> dict[str, Any]:
    places = await blacktree.api("/environments")
    return next((place for place in places if place["name"] == name), {})


async def _runs(blacktree: Instance, name: str, sha: str) -> dict[str, Any]:
    """Wait until an environment runs a commit."""

    async def look() -> dict[str, Any] | None:
        place = await _place(blacktree, name)
        return place if (place.get("release") or {}).get("sha") == sha else None

    return await blacktree.until(look, f"{name} to run {sha}")


async def test_a_release_that_crashes_after_its_switch_goes_back_by_itself_and_rollbacks_build_nothing(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    good = await developer.push({".blacktree.yml": FILE, PAGE: "good"})
    url = (await developer.status(good, DEPLOY, "success")).removeprefix("Live at ")

    proving = FILE.replace("stability: 8", "stability: 40")
    bad = await developer.push({"Dockerfile": CRASHES, PAGE: "bad", ".blacktree.yml": proving})

    said = await developer.status(bad, DEPLOY, "failure")
    assert said.startswith("Went live, then it restarted")
    assert said.endswith(f"rolled back to {good[:7]}")
    place = await _runs(blacktree, "production", good)
    assert (await visit(url)).strip() == "good"
    assert place["problem"] == ""
    assert [one["running"] for one in place["containers"]] == [True]

    async def one_left() -> bool:
        return len(clean_engine.containers("io.blacktree.repository=acme/shop")) == 1

    await blacktree.until(one_left, "the bad release's containers to be gone")
    releases = await blacktree.api(f"/environments/{place['id']}/releases")
    assert [(one["sha"], one["state"]) for one in releases] == [(bad, "failed"), (good, "live")]
    assert "out of luck" in (await blacktree.api(f"/releases/{releases[0]['id']}"))["last_lines"]

    new = await developer.push({"Dockerfile": dockerfile(), PAGE: "new", ".blacktree.yml": FILE})
    await _runs(blacktree, "production", new)
    await _order(blacktree, f"/environments/{place['id']}/rollback", why="the new one is ugly")
    await _runs(blacktree, "production", good)
    assert (await visit(url)).strip() == "good"
    newest, before = (await blacktree.api(f"/environments/{place['id']}/releases"))[:2]
    assert (newest["sha"], newest["actor"], newest["why"]) == (good, "api", "the new one is ugly")
    compared = (await blacktree.api(f"/releases/{newest['id']}?compare={before['id']}"))["compared"]
    assert compared["commit"]["url"].endswith(f"/acme/shop/compare/{new}...{good}")
    built = [job for job in await blacktree.jobs() if job["kind"] == "build"]
    assert len(built) == 3, "a rollback builds nothing"


async def test_a_preview_that_nobody_asks_for_sleeps_and_its_next_visitor_wakes_it(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    number, head = await developer.open_pull({".blacktree.yml": FILE, PAGE: "a preview"})
    await developer.status(head, "blacktree/deploy (preview)", "success")
    place = await _place(blacktree, f"pr-{number}")

    async def asleep() -> bool:
        gone = not clean_engine.containers("io.blacktree.repository=acme/shop")
        return gone and bool((await _place(blacktree, place["name"]))["asleep"])

    await blacktree.until(asleep, "the preview to sleep")

    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        page = await http.get(place["url"])
    assert (page.status_code, "wakes up" in page.text) == (503, True)

    async def awake() -> bool:
        return (await visit(place["url"])).strip() == "a preview"

    await blacktree.until(awake, "the preview to be awake")
    causes = [run["cause"] for run in reversed(await blacktree.api("/runs"))]
    assert causes[:3:2] == ["pull_request", "wake"]  # it may sleep again by now
    deployments = developer.github.deployments(developer.repository)
    assert len(deployments) == 1, "to GitHub it is the same deployment"
    assert len([job for job in await blacktree.jobs() if job["kind"] == "build"]) == 1


async def test_what_a_lost_worker_ran_is_started_by_another(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, clean_engine: Engine
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry, lease="10") as fleet:
        await fleet.start("serve")
        await fleet.ready()
        one = await fleet.start("worker", "one")
        sha = await developer.push({PAGE: "here"})
        url = (await developer.status(sha, DEPLOY, "success")).removeprefix("Live at ")
        assert (await _place(fleet, "production"))["worker"] == "one"
        await fleet.start("worker", "two")

        await one.kill()
        clean_engine.remove("io.blacktree.worker=one")  # its machine is gone

        async def moved() -> bool:
            return bool((await _place(fleet, "production"))["worker"] == "two")

        await fleet.until(moved, "another worker to run it")
        assert (await visit(url)).strip() == "here"
        place = await _place(fleet, "production")
        assert (place["release"]["sha"], place["problem"]) == (sha, "")
        assert len([job for job in await fleet.jobs() if job["kind"] == "build"]) == 1
        assert developer.state(sha, DEPLOY) == "success"
