"""The GitHub stand-in keeps to what GitHub does: by its own words, and by the published description."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.github import Contract, DeliverySent, Fault, GitHub, Repository, StatusPosted, User
from tests.github.api.statuses import MOST_STATUSES
from tests.github.bare import ZERO
from tests.github.git import GitError, git
from tests.github.post import verify
from tests.github.visitors import FILES, Client, Clients, Receiver, app_jwt, make_sample, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def github(tmp_path: Path, receiver: Receiver) -> AsyncIterator[GitHub]:
    async with GitHub.running(tmp_path / "github") as running:
        running.app.hook_url = receiver.url
        yield running


@pytest.fixture
def ada(github: GitHub) -> User:
    return github.user("ada")


@pytest.fixture
async def sample(github: GitHub) -> Repository:
    return await make_sample(github)


@pytest.fixture
async def clients(github: GitHub) -> AsyncIterator["Clients"]:
    one = Clients(github)
    yield one
    await one.close()


async def test_push_by_real_git_is_delivered_with_a_correct_signature(
    github: GitHub, sample: Repository, ada: User, receiver: Receiver, tmp_path: Path
) -> None:
    work = await sample.clone(tmp_path / "work", ada)
    before = await work.head()
    after = await work.commit({"src/app.py": "print('two')\n", "README.md": None}, message="Two")
    await work.push()
    await github.settled()

    headers, body = receiver.received[-1]
    assert headers["x-github-event"] == "push"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert verify(github.app.webhook_secret, body, headers["x-hub-signature-256"])
    payload = json.loads(body)
    assert (payload["ref"], payload["before"], payload["after"]) == ("refs/heads/main", before, after)
    assert payload["repository"]["id"] == sample.id
    assert payload["sender"]["login"] == "ada"
    assert payload["head_commit"]["modified"] == ["src/app.py"]
    assert payload["head_commit"]["removed"] == ["README.md"]
    assert github.deliveries[-1].guid == headers["x-github-delivery"]
    assert github.deliveries[-1].status_code == 202


async def test_branches_and_tags_come_and_go_with_their_events(
    github: GitHub, sample: Repository, ada: User, receiver: Receiver, tmp_path: Path
) -> None:
    work = await sample.clone(tmp_path / "work", ada)
    await work.checkout("feature", create=True)
    first = await work.commit({"a": "1"})
    await work.push()
    await work.amend(message="Better")
    await work.push(force=True)
    await work.tag("v1", message="One")
    await work.push("v1")
    await work.delete("feature")
    await github.settled()

    assert receiver.events() == ["create", "push", "push", "create", "push", "delete", "push"]
    pushes = [one.payload for one in github.deliveries if one.event == "push"]
    assert pushes[0]["created"]
    assert [commit["id"] for commit in pushes[0]["commits"]] == [first]
    assert pushes[1]["forced"]
    assert pushes[2]["ref"] == "refs/tags/v1"
    assert pushes[3]["deleted"]
    assert pushes[3]["after"] == ZERO


async def test_git_is_refused_without_and_with_a_wrong_token_and_without_permission(
    sample: Repository, clients: Clients, tmp_path: Path
) -> None:
    for stranger in (User(1, "mallory", token=""), User(1, "mallory", token="ghp_wrong")):
        with pytest.raises(GitError, match="128"):
            await sample.clone(tmp_path / "no", stranger)
    bot = await clients.bot(permissions={"contents": "read"})
    token = bot.http.headers["authorization"].removeprefix("Bearer ")
    work = await sample.clone(tmp_path / "bot", User(1, "x-access-token", token=token))
    await work.commit({"a": "1"})
    with pytest.raises(GitError, match="403"):
        await work.push()


async def test_git_comes_by_sha_by_askpass_in_pieces_and_compressed(
    github: GitHub, sample: Repository, ada: User, tmp_path: Path
) -> None:
    work = await sample.clone(tmp_path / "work", ada)
    wanted = await work.commit({"big": random.Random(1).randbytes(3_000_000)})
    await work.push(branch="HEAD:refs/heads/big")
    for index in range(60):
        await work.commit({"small": str(index)})
        await work.tag(f"v{index}")
    await work.push("--tags")
    await work.delete("big")

    askpass = tmp_path / "askpass"
    askpass.write_text('#!/bin/sh\necho "$TOKEN"\n')
    askpass.chmod(0o700)
    bare, env = tmp_path / "mirror.git", {"GIT_ASKPASS": str(askpass), "TOKEN": ada.token}
    await git("init", "--quiet", "--bare", str(bare), cwd=tmp_path)
    await git("fetch", "--quiet", "--depth=1", sample.clone_url, wanted, cwd=bare, env=env)
    assert (await git("cat-file", "-s", f"{wanted}:big", cwd=bare)).strip() == b"3000000"
    # So many wants that git sends them compressed.
    trace = {"GIT_TRACE_CURL": str(tmp_path / "trace"), "GIT_TRACE_CURL_NO_DATA": "1"}
    await git("fetch", "--quiet", sample.clone_url, "+refs/*:refs/*", cwd=bare, env=env | trace)
    assert "content-encoding: gzip" in (tmp_path / "trace").read_text().lower()
    assert (await git("rev-parse", "v59", cwd=bare)).decode().strip() == await work.head()
    assert not [one for one in github.deliveries if one.payload["ref"].startswith("refs/tags/")]


async def test_a_pull_request_from_opening_to_merging(
    github: GitHub, sample: Repository, ada: User, receiver: Receiver, tmp_path: Path
) -> None:
    work = await sample.clone(tmp_path / "work", ada)
    await work.checkout("feature", create=True)
    old = await work.commit({"a": "1\n"})
    await work.push()
    number = await github.open_pull(sample, ada, head="feature", title="A")
    new = await work.commit({"a": "2\n"})
    await work.push()
    await github.close_pull(sample, number, ada)
    await github.reopen_pull(sample, number, ada)
    await github.edit_pull(sample, number, ada, title="B")
    await github.comment(sample, number, ada, "/deploy")
    merged = await github.merge_pull(sample, number, ada)
    await github.settled()

    actions = [one for one in receiver.events() if one.startswith(("pull_request", "issue_comment"))]
    assert actions == [
        "pull_request.opened",
        "pull_request.synchronize",
        "pull_request.closed",
        "pull_request.reopened",
        "pull_request.edited",
        "issue_comment.created",
        "pull_request.closed",
    ]
    synchronize = next(one.payload for one in github.deliveries if one.action == "synchronize")
    assert (synchronize["before"], synchronize["after"]) == (old, new)
    assert synchronize["pull_request"]["head"]["sha"] == new
    assert github.deliveries[-1].payload["after"] == merged
    assert github.deliveries[-2].payload["pull_request"]["merged"]
    assert (await sample.bare.refs("refs/pull/"))["refs/pull/1/head"] == new
    assert await sample.head() == merged


async def test_a_fork_can_be_a_head(
    github: GitHub, sample: Repository, receiver: Receiver, tmp_path: Path
) -> None:
    stranger = github.user("mallory")
    sample.private = False
    fork = await github.fork(sample, stranger)
    work = await fork.clone(tmp_path / "fork", stranger)
    sha = await work.commit({"a": "1"})
    await work.push()
    number = await github.open_pull(sample, stranger, head="mallory:main")
    later = await work.commit({"a": "2"})
    await work.push()
    await github.settled()

    assert receiver.events() == ["pull_request.opened", "pull_request.synchronize"]
    opened = github.deliveries[0].payload["pull_request"]
    assert opened["head"]["sha"] == sha
    assert opened["head"]["repo"]["id"] == fork.id
    assert opened["author_association"] == "NONE"
    assert sample.pulls[number].head_sha == later


async def test_installation_tokens_are_narrowed_and_expire(
    github: GitHub, sample: Repository, clients: Clients
) -> None:
    other = await github.create_repository("acme/other", FILES)
    github.install_app(other)
    bot = await clients.bot(repositories=["sample"], permissions={"contents": "read"})
    assert len(bot.http.headers["authorization"]) > 47
    assert (await bot("GET", "/repos/acme/sample/commits/main")).status_code == 200
    assert (await bot("GET", "/repos/acme/other")).status_code == 404
    denied = await bot("POST", f"/repos/acme/sample/statuses/{await sample.head()}", {"state": "success"})
    assert denied.status_code == 403
    assert denied.json()["message"] == "Resource not accessible by integration"
    app, number = clients.app(), next(iter(github.world.installations))
    refused = await app(
        "POST", f"/app/installations/{number}/access_tokens", {"permissions": {"contents": "write"}}
    )
    assert refused.status_code == 422
    github.shift_clock(3601)
    expired = await bot("GET", "/repos/acme/sample")
    assert (expired.status_code, expired.json()["message"]) == (401, "Bad credentials")


@pytest.mark.parametrize(
    ("issued", "expires", "status"),
    [(-60, 540, 200), (30, 540, 401), (-60, 660, 401), (-700, -60, 401)],
)
async def test_the_app_jwt_is_checked_against_githubs_clock(
    github: GitHub, clients: Clients, issued: int, expires: int, status: int
) -> None:
    answer = await clients.by(app_jwt(github, issued=issued, expires=expires))("GET", "/app")
    assert answer.status_code == status
    assert "date" in answer.headers


async def test_comments_and_reactions(
    github: GitHub, sample: Repository, ada: User, clients: Clients, tmp_path: Path
) -> None:
    number = await pull_with_a_change(github, sample, ada, tmp_path)
    for index in range(5):
        await github.comment(sample, number, ada, f"Comment {index}")
    bot = await clients.bot()
    base = "/repos/acme/sample/issues"
    page = await bot("GET", f"{base}/{number}/comments?per_page=2&page=2")
    assert [one["body"] for one in page.json()] == ["Comment 2", "Comment 3"]
    assert 'rel="next"' in page.headers["link"]
    mine = (await bot("POST", f"{base}/{number}/comments", {"body": "Hello"})).json()
    assert mine["user"]["type"] == "Bot"
    await bot("PATCH", f"{base}/comments/{mine['id']}", {"body": "Hello again"})
    assert github.comments(sample, number)[-1].body == "Hello again"
    reactions = f"{base}/comments/{mine['id']}/reactions"
    first = await bot("POST", reactions, {"content": "eyes"})
    again = await bot("POST", reactions, {"content": "eyes"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert [one.content for one in github.reactions(mine["id"])] == ["eyes"]
    assert (await bot("DELETE", f"{reactions}/{first.json()['id']}")).status_code == 204
    assert github.reactions(mine["id"]) == []
    too_long = await bot("POST", f"{base}/{number}/comments", {"body": "x" * 65537})
    missing = await bot("POST", f"{base}/{number}/comments", {})
    assert (too_long.status_code, missing.status_code) == (422, 422)


async def test_statuses_have_limits(github: GitHub, sample: Repository, clients: Clients) -> None:
    bot, sha = await clients.bot(), await sample.head()
    assert sha
    path = f"/repos/acme/sample/statuses/{sha}"
    happened = github.subscribe()
    good = await bot("POST", path, {"state": "pending", "context": "Build", "description": "d" * 140})
    assert good.status_code == 201
    assert isinstance(await anext(happened), StatusPosted)
    for wrong in ({"state": "done"}, {}, {"state": "error", "description": "d" * 141}):
        assert (await bot("POST", path, wrong)).status_code == 422
    assert (await bot("POST", path[:-1] + "x", {"state": "error"})).status_code == 422
    posted = github.world.statuses[sample.id, sha]
    posted.extend(posted * (MOST_STATUSES - 1))
    full = await bot("POST", path, {"state": "success", "context": "build"})
    assert full.status_code == 422
    assert "maximum number of statuses" in full.text
    assert (await bot("POST", path, {"state": "success", "context": "other"})).status_code == 201
    assert github.latest_statuses(sample, sha)["other"].state == "success"


@pytest.mark.usefixtures("sample")
async def test_etags_make_a_304(clients: Clients) -> None:
    bot = await clients.bot()
    first = await bot("GET", "/repos/acme/sample/contents/README.md")
    etag = {"If-None-Match": first.headers["etag"]}
    second = await bot("GET", "/repos/acme/sample/contents/README.md", headers=etag)
    assert (first.status_code, second.status_code, second.content) == (200, 304, b"")
    assert second.headers["x-ratelimit-used"] == first.headers["x-ratelimit-used"]


async def test_a_lost_answer_and_other_faults(github: GitHub, sample: Repository, clients: Clients) -> None:
    bot, sha = await clients.bot(), await sample.head()
    assert sha
    path = f"/repos/acme/sample/statuses/{sha}"
    github.faults.add(Fault("POST", r"/statuses/", drop=True))
    with pytest.raises(httpx2.RemoteProtocolError):
        await bot("POST", path, {"state": "success"})
    assert len(github.statuses(sample, sha)) == 1
    assert github.requests[-1].status is None
    github.faults.add(Fault("POST", r"/statuses/", status=502, times=2, body={"message": "Server Error"}))
    github.faults.add(Fault.secondary_limit("/statuses/", retry_after=7))
    answers = [await bot("POST", path, {"state": "success"}) for _ in range(4)]
    assert [one.status_code for one in answers] == [502, 502, 403, 201]
    assert answers[2].headers["retry-after"] == "7"


async def test_deliveries_are_not_sent_again_but_can_be(
    github: GitHub, sample: Repository, ada: User, clients: Clients, receiver: Receiver, tmp_path: Path
) -> None:
    receiver.status = 503
    work = await sample.clone(tmp_path / "work", ada)
    await work.commit({"a": "1"})
    await work.push()
    await github.settled()
    assert [one.status_code for one in github.deliveries] == [503]
    receiver.status = 200
    app = clients.app()
    listed = (await app("GET", "/app/hook/deliveries?status=failure")).json()
    again = await app("POST", f"/app/hook/deliveries/{listed[0]['id']}/attempts")
    assert again.status_code == 202
    await github.settled()
    assert (await github.redeliver(listed[0]["guid"])).ok
    assert [one.redelivery for one in github.deliveries] == [False, True, True]
    assert len({headers["x-github-delivery"] for headers, _ in receiver.received}) == 1
    pages = []
    url: Any = github.api_url + "/app/hook/deliveries?per_page=2"
    while url:
        page = await app.http.get(url)
        pages.append(len(page.json()))
        url = page.links.get("next", {}).get("url")
    assert pages == [2, 1]


async def test_a_renamed_repository_is_found_by_redirects(
    github: GitHub, sample: Repository, ada: User, clients: Clients, tmp_path: Path
) -> None:
    old_url = sample.clone_url
    github.rename(sample, "acme/renamed")
    bot = await clients.bot()
    moved = await bot("GET", "/repos/acme/sample/branches/main")
    assert moved.status_code == 301
    assert (await bot.http.get(moved.headers["location"])).json()["name"] == "main"
    assert (await bot("GET", f"/repositories/{sample.id}")).json()["full_name"] == "acme/renamed"
    work = await sample.clone(tmp_path / "work", ada)
    await work.git("remote", "set-url", "origin", old_url)
    assert await work.pull() == await sample.head()


async def pull_with_a_change(github: GitHub, sample: Repository, ada: User, path: Path) -> int:
    work = await sample.clone(path / "clone", ada)
    await work.checkout("feature/one", create=True)
    await work.commit({"a": "1\n", "bin": b"\0\1"})
    await work.push()
    return await github.open_pull(sample, ada, head="feature/one")


@pytest.fixture(scope="session")
def description() -> Contract:
    found = Contract.find()
    if found is None:
        pytest.skip("npm ci in tests/github installs GitHub's description")
    return found


async def tour(github: GitHub, clients: Clients, path: Path, receiver: Receiver) -> list[str]:
    """Every endpoint and every event once; returns the answers that were errors."""
    sample, ada = await make_sample(github), github.user("ada")
    sample.collaborators["ada"] = "admin"
    number = await pull_with_a_change(github, sample, ada, path)
    await github.edit_pull(sample, number, ada, title="New", body="Text")
    await github.close_pull(sample, number, ada)
    await github.reopen_pull(sample, number, ada)
    comment = await github.comment(sample, number, ada, "/deploy")
    await github.edit_comment(sample, comment, ada, "/deploy now")
    app, bot, person = clients.app(), await clients.bot(), clients.by(ada.token)
    repo, sha, errors = "/repos/acme/sample", sample.pulls[number].head_sha, []

    async def ask(client: Client, method: str, where: str, body: Any = None, **more: Any) -> Any:
        answer = await client(method, where, body, **more)
        if answer.status_code >= 400:
            errors.append(f"{method} {where}: {answer.status_code} {answer.text}")
        kind = answer.headers.get("content-type", "")
        return answer.json() if kind.startswith("application/json") else None

    hook = {"config": {"url": receiver.url, "content_type": "form", "secret": "s"}, "events": ["push"]}
    made = await ask(person, "POST", f"{repo}/hooks", hook)
    await github.settled()
    for where in ("/hooks", f"/hooks/{made['id']}", f"/hooks/{made['id']}/deliveries"):
        await ask(person, "GET", repo + where)
    await ask(person, "POST", f"{repo}/hooks/{made['id']}/pings")
    own = (await ask(person, "GET", f"{repo}/hooks/{made['id']}/deliveries?per_page=1"))[0]
    delivery = f"{repo}/hooks/{made['id']}/deliveries/{own['id']}"
    await ask(person, "GET", delivery)
    await ask(person, "POST", f"{delivery}/attempts")
    await github.settled()
    await ask(person, "DELETE", f"{repo}/hooks/{made['id']}")

    installation = (await ask(app, "GET", f"{repo}/installation"))["id"]
    for where in ("/app", "/app/installations", f"/app/installations/{installation}", "/app/hook/config"):
        await ask(app, "GET", where)
    narrowing = {"repository_ids": [sample.id], "permissions": {"contents": "read"}}
    await ask(app, "POST", f"/app/installations/{installation}/access_tokens", narrowing)
    last = (await ask(app, "GET", "/app/hook/deliveries?per_page=1"))[0]
    await ask(app, "GET", f"/app/hook/deliveries/{last['id']}")
    await ask(app, "POST", f"/app/hook/deliveries/{last['id']}/attempts")

    for client, where in ((person, "/user"), (person, "/user/repos"), (bot, "/rate_limit"), (bot, "/meta")):
        await ask(client, "GET", where)
    await ask(bot, "GET", "/installation/repositories?per_page=5")
    for where in (
        *("", f"/repositories/{sample.id}", "/contents/", "/contents/src", "/contents/src/app.py?ref=main"),
        *("/commits", "/commits/main", f"/commits/{sha}", "/commits/heads/feature/one", "/branches"),
        *("/branches/feature/one", "/git/ref/heads/feature/one", "/compare/main...feature/one"),
        *("/pulls?state=all&head=acme:feature/one&base=main", f"/pulls/{number}", f"/pulls/{number}/files"),
        *(f"/commits/{sha}/pulls", f"/issues/{number}/comments", f"/issues/comments/{comment}"),
        *("/collaborators/ada/permission", "/collaborators/acme/permission"),
    ):
        await ask(bot, "GET", where if where.startswith("/repositories") else repo + where)
    await ask(bot, "GET", f"{repo}/contents/README.md", headers={"Accept": "application/vnd.github.raw+json"})

    reactions = f"{repo}/issues/comments/{comment}/reactions"
    reaction = await ask(bot, "POST", reactions, {"content": "rocket"})
    await ask(bot, "GET", f"{reactions}?content=rocket")
    await ask(bot, "DELETE", f"{reactions}/{reaction['id']}")
    mine = await ask(bot, "POST", f"{repo}/issues/{number}/comments", {"body": "Hello"})
    await ask(bot, "PATCH", f"{repo}/issues/comments/{mine['id']}", {"body": "Hello!"})
    await ask(bot, "DELETE", f"{repo}/issues/comments/{mine['id']}")

    status = {"state": "success", "context": "blacktree/build", "description": "Built", "target_url": None}
    await ask(bot, "POST", f"{repo}/statuses/{sha}", status)
    await ask(bot, "GET", f"{repo}/commits/feature/one/status")
    await ask(bot, "GET", f"{repo}/commits/{sha}/statuses")
    wish = {
        "ref": sha,
        "environment": "pr-1",
        "auto_merge": False,
        "required_contexts": [],
        "payload": {"a": 1},
    }
    deployment = (await ask(bot, "POST", f"{repo}/deployments", wish))["id"]
    one = f"{repo}/deployments/{deployment}"
    urls = {"log_url": "https://bot.example/1", "environment_url": "https://pr-1.example"}
    await ask(bot, "POST", f"{one}/statuses", {"state": "success", **urls})
    second = (await ask(bot, "POST", f"{repo}/deployments", wish))["id"]
    await ask(bot, "POST", f"{repo}/deployments/{second}/statuses", {"state": "success"})
    for where in (f"{repo}/deployments?environment=pr-1&sha={sha}", one, f"{one}/statuses"):
        await ask(bot, "GET", where)
    await ask(bot, "GET", f"{repo}/environments")
    await ask(bot, "DELETE", one)

    assert [one.state for one in github.deployments(sample)] == ["success"]
    await github.edit_pull(sample, number, ada, base="feature/one", title="Newer")
    await github.edit_pull(sample, number, ada, base="main")
    await github.merge_pull(sample, number, ada, method="squash")
    work = await sample.clone(path / "second", ada)
    await work.delete("feature/one")
    await work.tag("v1")
    await work.push("v1")
    github.rename(sample, "acme/renamed")
    moved = await bot("GET", repo)
    assert moved.status_code == 301
    kept = await bot("POST", f"{repo}/statuses/{sha}", status)
    assert kept.status_code == 307
    await github.settled()
    return errors


async def test_the_stand_in_keeps_githubs_contract(
    tmp_path: Path, receiver: Receiver, description: Contract
) -> None:
    contract = Contract(description.description)
    async with GitHub.running(tmp_path / "github", contract=contract) as github:
        github.app.hook_url = receiver.url
        clients = Clients(github)
        try:
            errors = await tour(github, clients, tmp_path, receiver)
        finally:
            await clients.close()
        assert errors == []
        assert "\n".join(contract.violations) == ""
        events = {(one.event, one.action) for one in github.deliveries}
    assert {"push", "create", "delete", "ping", "pull_request", "issue_comment"} == {one for one, _ in events}
    assert ("issue_comment", "deleted") in events


async def test_the_contract_catches_wrong_requests(tmp_path: Path, description: Contract) -> None:
    contract = Contract(description.description)
    async with GitHub.running(tmp_path / "github", contract=contract) as github:
        sample, clients = await make_sample(github), Clients(github)
        try:
            bot, path = await clients.bot(), f"/repos/acme/sample/statuses/{await sample.head()}"
            assert contract.violations == []
            for method, where, body, expected in (
                ("POST", path, {"state": "done"}, "'done' is not one of"),
                ("POST", path, {}, "'state' is a required property"),
                ("POST", path, {"state": "error", "contxt": "x"}, "there is no 'contxt'"),
                ("GET", "/repos/acme/sample/branches?pr_page=2", None, "there is no query pr_page"),
                ("GET", "/repos/acme/sample/nothing", None, "no such endpoint"),
            ):
                await bot(method, where, body)
                assert len(contract.violations) == 1
                assert expected in contract.violations.pop()
        finally:
            await clients.close()


def test_the_contract_catches_wrong_answers_and_payloads(description: Contract) -> None:
    contract = Contract(description.description)
    ref: dict[str, Any] = {
        "ref": "refs/heads/main",
        "node_id": "x",
        "url": "https://example.com",
        "object": {"type": "commit", "sha": "a" * 40, "url": "https://example.com"},
    }
    where = ("GET", "/repos/acme/sample/git/ref/heads/main", 200, "application/json")
    contract.check_answer(*where, ref)
    assert contract.violations == []
    contract.check_answer(*where, {**ref, "object": {**ref["object"], "sha": 1}})
    contract.check_answer(*where, {key: ref[key] for key in ref if key != "url"})
    contract.check_webhook("push", {"ref": "refs/heads/main"})
    contract.check_webhook("pull_request", {"action": "exploded"})
    found = "\n".join(contract.violations)
    assert "['object']['sha'] 1 is not of type 'string'" in found
    assert "'url' is a required property" in found
    assert "webhook push:  'before' is a required property" in found
    assert "webhook pull_request exploded: GitHub has no such event" in found


async def test_an_event_of_ones_own_and_waiting_for_it(
    github: GitHub, sample: Repository, receiver: Receiver
) -> None:
    happened = github.subscribe()
    guid = github.deliver("merge_group", {"action": "checks_requested", "repository": {"id": sample.id}})
    waiting = asyncio.create_task(github.until(lambda: receiver.received))
    assert isinstance(sent := await anext(happened), DeliverySent)
    assert sent.delivery.guid == guid
    assert (await waiting)[0][0]["x-github-event"] == "merge_group"
    with pytest.raises(TimeoutError):
        await github.until(lambda: False, timeout=0.01)
