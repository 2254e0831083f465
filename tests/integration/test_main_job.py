"""The main job on the embedded defaults: `blacktree up`, SQLite, the queue in memory, Caddy as a child."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.github.model import Deployment
from tests.instance import Instance
from tests.integration.conftest import PAGE, Developer, dockerfile, visit
from tests.parts.engine import Engine
from tests.workers.deploy.test_deploy import serving


async def test_a_push_becomes_a_running_container_and_github_is_told(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()

    sha = await developer.push({PAGE: "second"})

    description = await developer.status(sha, "blacktree/deploy (production)", "success")
    url = description.removeprefix("Live at ")
    assert (await visit(url)).strip() == "second"
    await developer.status(sha, "blacktree/build", "success")
    told = [
        status.state
        for status in developer.github.statuses(developer.repository, sha)
        if status.context == "blacktree/build"
    ]
    assert (told[0], told[-1]) == ("pending", "success")
    run = await blacktree.api("/runs/1")
    assert [job["state"] for job in run["jobs"]] == ["succeeded", "succeeded"]
    assert [step["name"] for step in run["jobs"][0]["steps"]] == ["checkout", "build"]
    assert [step["name"] for step in run["jobs"][1]["steps"]] == ["pull", "start", "check", "switch"]
    (container,) = clean_engine.containers("io.blacktree.repository=acme/shop")
    limits = container.attrs["HostConfig"]
    assert (limits["Memory"], limits["NanoCpus"], limits["PidsLimit"]) == (512 * 1024**2, 10**9, 512)
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert "COPY www" in await blacktree.text(f"/jobs/{run['jobs'][0]['id']}/log")


async def test_a_failing_dockerfile_says_which_step_and_the_old_container_still_serves(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    good = await developer.push({PAGE: "good"})
    url = (await developer.status(good, "blacktree/deploy (production)", "success")).removeprefix("Live at ")

    bad = await developer.push({"Dockerfile": dockerfile("RUN exit 3"), PAGE: "bad"})

    description = await developer.status(bad, "blacktree/build", "failure")
    assert "RUN exit 3" in description
    assert description.startswith("build: ")
    await developer.status(bad, "blacktree/deploy (production)", "failure")
    assert (await visit(url)).strip() == "good"
    failed = await blacktree.job("build", "failed")
    assert failed["attempt"] == 1, "the user's fault is not tried again"


async def test_an_unhealthy_release_never_gets_traffic_and_is_removed(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    good = await developer.push({PAGE: "good"})
    url = (await developer.status(good, "blacktree/deploy (production)", "success")).removeprefix("Live at ")

    crash = dockerfile().replace('CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', 'CMD ["false"]')
    bad = await developer.push({"Dockerfile": crash})

    assert (await developer.status(bad, "blacktree/deploy (production)", "failure")).startswith("check: ")
    assert (await visit(url)).strip() == "good"
    await blacktree.until(lambda: _containers(clean_engine, 1), "one container to be left")


async def test_without_a_proxy_an_environment_keeps_its_port_its_volume_and_what_served(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up", proxy="none")
    await blacktree.ready()
    serve = "echo run >> /data/runs; cp /data/runs /www/index.html; exec httpd -f -p 8080 -h /www"
    web = dockerfile().partition("CMD")[0] + f'CMD ["sh", "-c", "{serve}"]\n'
    file = "environments: {production: {volumes: {data: /data}}}\n"
    first = await developer.push({"Dockerfile": web, ".blacktree.yml": file})
    url = await developer.status(first, "blacktree/deploy (production)", "success")

    second = await developer.push({PAGE: "second"})

    assert await developer.status(second, "blacktree/deploy (production)", "success") == url
    assert await visit(url.removeprefix("Live at ")) == "run\n" * 2
    bad = await developer.push({"Dockerfile": web.replace("exec httpd", "exit 3; httpd")})
    await developer.status(bad, "blacktree/deploy (production)", "failure")
    await serving(url.removeprefix("Live at http://"), "run\n" * 4)
    (job,) = (job for job in await blacktree.jobs() if (job["kind"], job["state"]) == ("deploy", "failed"))
    assert "there is downtime: without a proxy" in await blacktree.text(f"/jobs/{job['id']}/log")


async def test_a_pull_request_has_a_preview_and_one_comment_until_it_is_closed(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()

    number, head = await developer.open_pull({PAGE: "preview one"})
    await developer.status(head, "blacktree/deploy (preview)", "success")
    place = (await blacktree.api("/environments"))[0]
    assert (place["name"], (await visit(place["url"])).strip()) == (f"pr-{number}", "preview one")

    newer = await developer.push({PAGE: "preview two"}, "feature")
    await developer.status(newer, "blacktree/deploy (preview)", "success")
    assert (await visit(place["url"])).strip() == "preview two"
    await developer.github.until(
        lambda: newer[:7] in _comment(developer, number) and "MB" in _comment(developer, number)
    )
    comment = _comment(developer, number)
    for shown in ("succeeded", place["url"], "Build time", " s |", " MB |", newer[:7]):
        assert shown in comment

    def live() -> Deployment | None:
        found = developer.github.deployments(developer.repository)
        return next((one for one in found if (one.ref, one.state) == (newer, "success")), None)

    deployment = await developer.github.until(live)
    assert deployment is not None
    assert deployment.environment == f"pr-{number}"
    assert (deployment.transient, deployment.production, deployment.auto_merge) == (True, False, False)
    assert deployment.statuses[-1].environment_url == place["url"]
    assert deployment.statuses[-1].log_url

    await developer.github.close_pull(developer.repository, number, developer.user)
    await blacktree.job("stop", "succeeded")
    await blacktree.until(lambda: _containers(clean_engine, 0), "the preview's containers to be gone")
    await developer.github.until(lambda: "removed" in _comment(developer, number))
    assert (await blacktree.api("/environments"))[0]["release"] is None
    assert clean_engine.networks("io.blacktree.worker=up") == []
    await developer.github.until(
        lambda: all(one.state == "inactive" for one in developer.github.deployments(developer.repository))
    )


async def test_redeploy_runs_the_head_again_for_those_with_write_access_only(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()
    github, repository = developer.github, developer.repository
    stranger = github.user("eve")
    repository.collaborators[stranger.login] = "read"
    number, head = await developer.open_pull({PAGE: "preview"})
    await developer.status(head, "blacktree/deploy (preview)", "success")
    await github.until(lambda: head[:7] in _comment(developer, number))

    refused = await github.comment(repository, number, stranger, "/redeploy")
    await github.until(lambda: _reactions(developer, refused) == {"confused"})
    await blacktree.until(lambda: _seen(developer, number), "the head to have been seen for a second")
    accepted = await github.comment(repository, number, developer.user, "Once more:\n\n/redeploy")

    await github.until(lambda: _reactions(developer, accepted) == {"eyes", "rocket"}, timeout=120)
    runs = await blacktree.api("/runs")
    assert [run["cause"] for run in runs] == ["command /redeploy", "pull_request"]
    assert runs[0]["sha"] == head
    reasons = [delivery["reason"] for delivery in await blacktree.api("/deliveries")]
    assert "denied: /redeploy needs write access, which eve has not" in reasons


async def test_a_bad_file_is_a_failed_status_that_names_line_and_key(
    developer: Developer, blacktree: Instance
) -> None:
    await blacktree.start("up")
    await blacktree.ready()

    sha = await developer.push({".blacktree.yml": "images:\n  app:\n    dockerfil: Dockerfile\n"})

    description = await developer.status(sha, "blacktree/build", "failure")
    assert ".blacktree.yml:3" in description
    assert "Did you mean dockerfile?" in description


async def _containers(engine: Engine, count: int) -> bool:
    return len(engine.containers("io.blacktree.repository=acme/shop")) == count


async def _seen(developer: Developer, number: int) -> bool:
    """GitHub's times have seconds: a command of the second in which the head was shown does not count."""
    shown = developer.github.comments(developer.repository, number)[0]
    return datetime.now(UTC) > shown.updated_at + timedelta(seconds=1)


def _comment(developer: Developer, number: int) -> str:
    """The bot's one comment; two of them are a failure."""
    comments = developer.github.comments(developer.repository, number)
    ours = [comment for comment in comments if comment.user.login == developer.github.app.bot.login]
    assert len(ours) <= 1
    return ours[0].body if ours else ""


def _reactions(developer: Developer, comment_id: int) -> set[str]:
    return {reaction.content for reaction in developer.github.reactions(comment_id)}
