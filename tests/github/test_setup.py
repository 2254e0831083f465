"""Setting up and breaking down: the manifest's form, hooks and their deliveries, faults and outages."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from tests.github import Fault
from tests.github.git import GitError
from tests.github.post import verify
from tests.github.visitors import FILES, Side, visiting

REPO = "/repos/acme/sample"
HOME = "https://blacktree.example"


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with visiting(tmp_path) as one:
        yield one


def manifest(side: Side, **change: Any) -> dict[str, Any]:
    return {
        "name": "Blacktree Acme",
        "url": HOME,
        "hook_attributes": {"url": side.receiver.url, "active": True},
        "redirect_url": f"{HOME}/setup/done",
        "public": False,
        "default_permissions": {"contents": "read", "pull_requests": "write"},
        "default_events": ["push", "pull_request", "repository"],
        **change,
    }


@pytest.mark.parametrize(
    ("form", "owner"), [("", "app-owner"), ("/organizations/acme", "acme")], ids=["user", "organization"]
)
async def test_the_manifests_form_makes_an_app_whose_keys_are_given_once(
    side: Side, form: str, owner: str
) -> None:
    browser, old = side.clients.by(""), side.clients.app()
    answer = await browser.http.post(
        f"{side.github.url}{form}/settings/apps/new?state=a%20b",
        data={"manifest": json.dumps(manifest(side))},
    )
    assert answer.status_code == 302
    target = answer.headers["location"]
    query = parse_qs(urlsplit(target).query)
    assert target.startswith(f"{HOME}/setup/done?")
    assert query["state"] == ["a b"]
    made = await browser("POST", f"/app-manifests/{query['code'][0]}/conversions")
    assert made.status_code == 201
    app = made.json()
    assert (app["slug"], app["owner"]["login"]) == ("blacktree-acme", owner)
    assert app["html_url"] == f"{side.github.url}/apps/blacktree-acme"
    assert app["pem"] == side.github.app.private_key
    assert app["webhook_secret"] == side.github.app.webhook_secret
    assert app["client_id"]
    assert app["client_secret"]
    again = await browser("POST", f"/app-manifests/{query['code'][0]}/conversions")
    assert again.status_code == 404
    assert (await side.clients.app()("GET", "/app")).json()["id"] == app["id"]
    assert (await old("GET", "/app")).status_code == 401
    assert len(await side.payloads("ping")) == 1
    headers, body = side.receiver.received[-1]
    assert verify(app["webhook_secret"], body, headers["x-hub-signature-256"])
    assert headers["x-github-hook-installation-target-id"] == str(app["id"])

    side.github.install_app(side.sample)
    bot = await side.clients.bot()
    assert (await bot("GET", f"{REPO}/commits/main")).status_code == 200
    head = await side.sample.head()
    assert (await bot("POST", f"{REPO}/statuses/{head}", {"state": "success"})).status_code == 403


async def test_a_code_goes_stale(side: Side) -> None:
    code = await side.github.manifest_code(manifest(side), organization="acme")
    side.github.shift_clock(3601)
    late = await side.clients.by("")("POST", f"/app-manifests/{code}/conversions")
    assert late.status_code == 404


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"url": ""}, "'url' wasn't supplied"),
        ({"redirect_url": None}, "'redirect_url' wasn't supplied"),
        ({"hook_attributes": {"active": True}}, "'hook_attributes.url' must be a valid URL"),
        ({"default_events": ["installation"]}, "Default events unsupported: installation"),
        ({"default_events": ["check_run"]}, "Default events unsupported: check_run"),
        ({"default_permissions": {"everything": "write"}}, "everything"),
        ({"name": "x" * 35}, "too long"),
        ({"homepage": HOME}, "'homepage' is not a permitted key"),
    ],
)
async def test_a_manifest_that_github_would_not_take_is_refused(
    side: Side, change: dict[str, Any], sentence: str
) -> None:
    browser = side.clients.by("")
    wish = json.dumps(manifest(side, **change))
    answer = await browser.http.post(f"{side.github.url}/settings/apps/new", data={"manifest": wish})
    assert answer.status_code == 422
    assert sentence in answer.text
    with pytest.raises(ValueError, match=r".+"):
        await side.github.manifest_code(manifest(side, **change))


async def test_a_hook_is_made_once_and_can_be_changed(side: Side) -> None:
    person = side.clients.by(side.ada.token)
    config = {"url": side.receiver.url, "content_type": "json", "secret": "one"}
    wish = {"name": "web", "active": True, "events": ["push"], "config": config}
    made = await person("POST", f"{REPO}/hooks", wish)
    twice = await person("POST", f"{REPO}/hooks", wish)
    assert (made.status_code, twice.status_code) == (201, 422)
    assert "Hook already exists" in twice.text
    hook = made.json()["id"]
    changed = await person(
        "PATCH", f"{REPO}/hooks/{hook}", {"config": {**config, "secret": "two"}, "add_events": ["create"]}
    )
    assert changed.json()["events"] == ["create", "push"]
    assert changed.json()["config"]["secret"] == "********"
    assert side.github.world.hooks[hook].secret == "two"
    assert (await person("DELETE", f"{REPO}/hooks/{hook}")).status_code == 204
    assert (await person("GET", f"{REPO}/hooks")).json() == []
    eve = side.github.user("eve")
    side.sample.collaborators["eve"] = "write"
    assert (await side.clients.by(eve.token)("GET", f"{REPO}/hooks")).status_code == 403


async def test_failed_deliveries_are_listed_fetched_and_tried_again(side: Side) -> None:
    person, app = side.clients.by(side.ada.token), side.clients.app()
    hook = side.github.add_hook(side.sample, side.receiver.url, events=frozenset({"push"}))
    await side.github.settled()
    side.receiver.status = 500
    await side.github.move_branch(side.sample, "one", await side.sample.head(), side.ada)
    await side.github.settled()
    side.receiver.status = 200
    for client, base in ((app, "/app/hook/deliveries"), (person, f"{REPO}/hooks/{hook.id}/deliveries")):
        failed = (await client("GET", f"{base}?status=failure&per_page=100")).json()
        push = next(one for one in failed if one["event"] == "push")
        assert (push["status_code"], push["redelivery"], push["action"]) == (500, False, None)
        assert push["repository_id"] == side.sample.id
        whole = (await client("GET", f"{base}/{push['id']}")).json()
        assert whole["request"]["payload"]["ref"] == "refs/heads/one"
        assert (await client("POST", f"{base}/{push['id']}/attempts")).status_code == 202
        await side.github.settled()
        newest = (await client("GET", f"{base}?per_page=1")).json()[0]
        assert (newest["guid"], newest["status_code"], newest["redelivery"]) == (push["guid"], 200, True)
    assert (await app("POST", "/app/hook/deliveries/1/attempts")).status_code == 404


async def test_what_an_app_sees_of_itself(side: Side) -> None:
    app, bot = side.clients.app(), await side.clients.bot()
    assert (await app("GET", "/app")).json()["id"] == side.github.app.id
    assert [one["account"]["login"] for one in (await app("GET", "/app/installations")).json()] == ["acme"]
    reached = (await bot("GET", "/installation/repositories?per_page=100")).json()
    assert [one["full_name"] for one in reached["repositories"]] == ["acme/sample"]


async def test_an_outage_takes_the_api_and_git_and_ends(side: Side, tmp_path: Path) -> None:
    bot, head = await side.clients.bot(), await side.sample.head()
    with side.github.down() as outage:
        refused = await bot("POST", f"{REPO}/statuses/{head}", {"state": "success"})
        assert refused.status_code == 503
        assert refused.headers["content-type"].startswith("text/html")
        with pytest.raises(GitError, match="503"):
            await side.sample.clone(tmp_path / "no", side.ada)
        assert outage.hits == 2
    with side.github.down(drop=True), pytest.raises(httpx2.RemoteProtocolError):
        await bot("GET", REPO)
    assert side.github.statuses(side.sample, head or "") == []
    assert (await bot("GET", REPO)).status_code == 200
    await side.sample.clone(tmp_path / "yes", side.ada)


async def test_every_fault_that_github_has_can_be_had(side: Side) -> None:
    bot, faults = await side.clients.bot(), side.github.faults
    faults.add(Fault.primary_limit(REPO, reset_in=30, status=429))
    limited = await bot("GET", REPO)
    assert (limited.status_code, limited.headers["x-ratelimit-remaining"]) == (429, "0")
    assert int(limited.headers["x-ratelimit-reset"]) <= time.time() + 30
    faults.add(Fault.secondary_limit(REPO, retry_after=None, status=429))
    slowed = await bot("GET", REPO)
    assert "retry-after" not in slowed.headers
    assert "secondary rate limit" in slowed.json()["message"]
    faults.add(Fault.html(REPO, status=502))
    page = await bot("GET", REPO)
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.startswith("<!DOCTYPE html>")
    faults.add(Fault.slow(REPO, delay=0.2))
    started = asyncio.get_running_loop().time()
    assert (await bot("GET", REPO)).status_code == 200
    assert asyncio.get_running_loop().time() - started >= 0.2
    faults.add(Fault.slow(REPO, delay=1))
    with pytest.raises(httpx2.ReadTimeout):
        await bot("GET", REPO, timeout=httpx2.Timeout(60, read=0.1))
    issue = await side.github.open_issue(side.sample, side.ada)
    faults.add(Fault.lost("/comments"))
    with pytest.raises(httpx2.RemoteProtocolError):
        await bot("POST", f"{REPO}/issues/{issue}/comments", {"body": "Said once"})
    assert [one.body for one in side.github.comments(side.sample, issue)] == ["Said once"]
    assert (await bot("GET", REPO)).status_code == 200


async def test_every_get_has_an_etag_and_a_changed_answer_another(side: Side) -> None:
    bot = await side.clients.bot()
    first = await bot("GET", f"{REPO}/branches")
    etag = {"If-None-Match": first.headers["etag"]}
    assert (await bot("GET", f"{REPO}/branches", headers=etag)).status_code == 304
    await side.github.move_branch(side.sample, "new", await side.sample.head())
    changed = await bot("GET", f"{REPO}/branches", headers=etag)
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


async def test_requests_can_be_counted(side: Side) -> None:
    bot, other = await side.clients.bot(), await side.github.create_repository("acme/other", FILES)
    await bot("GET", REPO)
    await bot("GET", f"/repos/{other.full_name}")
    assert side.github.count("GET", "^/repos/") == 2
    assert side.github.count(path="/other$") == 1
    assert side.github.count("POST", "/access_tokens$") == 1
