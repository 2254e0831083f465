"""What follows from a file whose environments have several processes."""

from __future__ import annotations

from typing import Any

import pytest

from bot.decisions import deploying
from bot.decisions.decision import Refused
from bot.decisions.plan import PlannedJob, deploy, merge_group, preview, push
from bot.store.tables import Release, ReleaseState
from config.repository import parse
from workers.contract.messages import Kind, now

SHA, AT = "a" * 40, now()
SHOP = parse(
    """
    images: {web: {context: web, paths: [web]}, api: {paths: [api]}, docs: {paths: [docs]}}
    environments:
      production:
        image: api
        domain: shop.example.com
        processes:
          web: {image: web}
          api: {port: 8000, path: /api, replicas: 2}
          worker: {command: [work], limits: {memory: 64m}, health: {lasts: 9}}
      staging: {image: docs}
      preview: {processes: {web: {image: web}, api: {image: api, path: /api}}}
    """
)


def deploys(jobs: list[PlannedJob]) -> dict[str, PlannedJob]:
    return {job.name: job for job in jobs if job.kind is Kind.DEPLOY}


def test_a_deploy_needs_all_images_of_its_processes_and_each_is_built_once() -> None:
    jobs = push(SHOP, "main", "main", SHA)
    assert [(job.kind.value, job.name, job.needs) for job in jobs] == [
        ("build", "api", ()), ("build", "web", ()), ("build", "docs", ()),
        ("deploy", "production", (0, 1)), ("deploy", "staging", (2,)),
    ]  # fmt: skip
    assert deploys(preview(SHOP, 7, SHA))["pr-7"].needs == (0, 1)
    assert [job.name for job in merge_group(SHOP, SHA)] == ["web", "api", "docs"]


def test_a_change_of_any_of_its_images_reaches_an_environment() -> None:
    assert list(deploys(push(SHOP, "main", "main", SHA, ["web/x"]))) == ["production"]
    assert list(deploys(push(SHOP, "main", "main", SHA, ["docs/x"]))) == ["staging"]
    assert not preview(SHOP, 7, SHA, ["docs/x"])


def test_a_deploy_says_of_each_process_all_that_it_has() -> None:
    spec = deploys(push(SHOP, "main", "main", SHA))["production"].spec
    assert spec["image"] == "api"
    web, api, worker = (spec["processes"][name] for name in ("web", "api", "worker"))
    assert (web["image"], web["domain"], web["path"], web["served"]) == ("web", "shop.example.com", "", True)
    assert (api["image"], api["port"], api["path"], api["replicas"]) == ("api", 8000, "/api", 2)
    assert (worker["served"], worker["domain"], worker["command"]) == (False, None, ["work"])
    assert worker["limits"] == {"memory": 64 * 2**20, "cpus": 1.0, "pids": 512}
    assert (worker["health"]["kind"], worker["health"]["lasts"]) == ("up", 9)
    assert deploys(push(SHOP, "main", "main", SHA))["staging"].spec["processes"] == {}


def release(**columns: Any) -> Release:
    known: dict[str, Any] = {"id": 5, "environment_id": 1, "run_id": 1, "job_id": "1-2", "sha": SHA}
    return Release(**{**known, "image": "api@sha256:1", **columns})


def test_a_promotion_ships_every_image_or_says_which_one_there_is_not() -> None:
    [job] = deploys(deploy(SHOP, "production", SHA, "main", None)).values()
    images = {"api": "api@sha256:1", "web": "web@sha256:2", "docs": "docs@sha256:3"}

    shipped = deploying.shipped(job, release(images=images))

    assert shipped.needs == ()
    assert shipped.spec["image_reference"] == "api@sha256:1"
    assert shipped.spec["image_references"] == {"api": "api@sha256:1", "web": "web@sha256:2"}
    with pytest.raises(Refused, match=r"production runs web too, which release 5 has not: deploy its commit"):
        deploying.shipped(job, release(settings={"image": "api"}))
    [alone] = deploys(deploy(SHOP, "staging", SHA, "main", None)).values()
    assert "image_references" not in deploying.shipped(alone, release()).spec


def test_a_release_of_other_images_is_one_that_one_may_go_back_to() -> None:
    live = release(id=9, state=ReleaseState.LIVE, live_at=AT, images={"web": "w2"}, settings={})
    same = release(id=8, state=ReleaseState.RETIRED, live_at=AT, images={"web": "w2"}, settings={})
    other = release(id=7, state=ReleaseState.RETIRED, live_at=AT, images={"web": "w1"}, settings={})
    assert [one.id for one in deploying.earlier([live, same, other])] == [7]
