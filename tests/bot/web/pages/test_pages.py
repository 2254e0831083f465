"""What the pages say, over HTTP and without any script, to whoever is signed in."""

from __future__ import annotations

import asyncio
import re
import subprocess
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import true

from bot.store.database import Store
from bot.store.tables import (
    ContainerRow,
    Delivery,
    Environment,
    Job,
    JobState,
    LogDrainRow,
    Release,
    ReleaseState,
    StepRow,
    TcpPort,
)
from bot.store.times import STEP
from bot.web.assets import STATIC
from bot.web.pages import jobs, places, render, waterfall
from tests.bot.conftest import Rows
from tests.bot.web.pages import town
from tests.bot.web.pages.conftest import Scene
from tests.bot.web.pages.surroundings import HOSTILE, before, step
from tests.bot.web.pages.town import Town
from workers.contract.messages import Kind, now


@pytest.fixture
async def here(scene: Scene) -> Town:
    found = await town.made(scene.store, scene.logs)
    await scene.sign_in()
    return found


class Tags(HTMLParser):
    """Every tag of a page as a browser understands it, with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


async def told(scene: Scene, path: str) -> str:
    """The words of a page, as one reads them."""
    answer = await scene.get(path)
    assert answer.status_code == 200, path
    body = re.sub(r"<svg.*?</svg>|<script.*?</script>|<dialog.*?</dialog>", " ", answer.text, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


@pytest.mark.usefixtures("here")
async def test_a_repository_leads_to_what_waits_there_for_an_approval_and_to_its_secrets(
    scene: Scene,
) -> None:
    page = (await scene.get("/repositories/acme/shop")).text

    assert "Approvals 2 waiting Secrets" in await told(scene, "/repositories/acme/shop")
    links = {said["href"] for tag, said in Tags(page).found if tag == "a"}
    there = [one for one in links if one.startswith("/approvals?repository=")]
    for path in (*there, "/repositories/acme/shop/secrets"):
        assert "acme/shop" in await told(scene, path), path
    assert "Nothing waits for an approval" not in await told(scene, *there)


@pytest.mark.usefixtures("here")
async def test_the_overview_says_what_runs_what_is_built_what_waits_and_what_failed(scene: Scene) -> None:
    words = await told(scene, "/")

    for said in (
        "production live", "live 3 h ago , by grace", "production.example.com", "staging ailing",
        "GET /health: 500", "Locked by grace: a demo at noon",
        "Building on oak-2, at build", "Waits for a free slot in pool default",
        "Waits until what it needs has succeeded", "somebody with write access says /build 4343434",
        "build: RUN npm test: exit code 1", "pr-41 asleep", "1 deploy Waits for somebody's approval",
    ):  # fmt: skip
        assert said in words, (said, words)


@pytest.mark.usefixtures("here")
async def test_a_repository_shows_its_environments_pull_requests_and_runs(scene: Scene) -> None:
    words = await told(scene, "/repositories/acme/shop")

    for said in ("production live", "#43", "fork", "stops in 2 d", "#4", "push to main by ada"):
        assert said in words, (said, words)


async def test_older_runs_are_a_link_away(scene: Scene) -> None:
    rows = Rows(scene.store)
    for _ in range(35):
        await rows.run()
    await scene.sign_in()

    first = (await scene.get("/repositories/acme/shop")).text
    older = (await scene.get("/repositories/acme/shop?before=6")).text

    assert 'href="/runs/35"' in first
    assert "?before=6" in first
    assert 'href="/runs/5"' not in first
    assert 'href="/runs/5"' in older
    assert "Older runs" not in older


async def test_a_run_says_its_cause_and_where_its_time_went(scene: Scene, here: Town) -> None:
    words = await told(scene, f"/runs/{here.failed.run_id}")

    for said in (
        "push to main by ada",
        "build web failed",
        "deploy production cancelled",
        "checkout",
        "0.8 s",
    ):
        assert said in words, (said, words)
    assert f"/deliveries/{here.delivery}" in (await scene.get(f"/runs/{here.failed.run_id}")).text


async def test_a_job_says_why_it_failed_and_has_its_last_lines_without_a_script(
    scene: Scene, here: Town
) -> None:
    words = await told(scene, f"/jobs/{here.failed.id}")

    assert "build: RUN npm test: exit code 1" in words
    assert "the price has its currency" in words


async def test_each_attempt_of_a_job_has_its_own_log(scene: Scene, here: Town) -> None:
    last = await told(scene, f"/jobs/{here.again.id}")
    first = await told(scene, f"/jobs/{here.again.id}?attempt=1")

    assert "the registry is away" in first
    assert "the registry is away" not in last
    assert "The registry did not answer: 503" in last


async def test_a_log_is_there_as_text_and_as_a_file(scene: Scene, here: Town) -> None:
    whole = await scene.get(f"/jobs/{here.failed.id}/log?attempt=1")
    rest = await scene.get(f"/jobs/{here.failed.id}/log?attempt=1&from=16")
    file = await scene.get(f"/jobs/{here.failed.id}/log?attempt=1&download")

    coloured = await scene.get(f"/jobs/{here.failed.id}/log?attempt=1&coloured")

    assert coloured.text == town.FAILING
    assert whole.text == re.sub(r"\x1b\[[0-9;]*m", "", town.FAILING) != town.FAILING
    assert rest.content == whole.content[16:]
    assert file.headers["content-disposition"] == f'attachment; filename="{here.failed.id}-1.log"'
    assert whole.headers["content-type"].startswith("text/plain")


async def test_without_scripts_a_log_is_there_page_by_page_with_its_colours(scene: Scene, here: Town) -> None:
    first = (await scene.get(f"/jobs/{here.failed.id}/lines")).text
    assert '<span class="t-c2">✔</span>' in first
    assert turns(first) == ("1", "23", {})

    text = "".join(f"line {number}\n" for number in range(1, 2501))
    await scene.logs.append(here.again.id, 3, 0, text)
    path = f"/jobs/{here.again.id}/lines?attempt=3"
    middle = (await scene.get(f"{path}&from=1001")).text
    last = (await scene.get(f"{path}&from=2001")).text
    nothing = (await scene.get(f"{path}&from=9999")).text

    assert turns(middle) == ("1001", "2000", {"prev": "1", "next": "2001"})
    assert turns(last) == ("2001", "2500", {"prev": "1001"})
    assert "There are no such lines" in nothing


async def test_a_run_says_what_it_changed_and_which_job_comes_after_which(scene: Scene, here: Town) -> None:
    words = await told(scene, f"/runs/{here.again.run_id}")

    assert "What it changed production release 2, live 1111111 was live before: what changed" in words
    assert "Image web 84.2 MB" in words
    assert "after build web" in words


def turns(page: str) -> tuple[str, str, dict[str, str]]:
    """The first and the last line of a page of a log, and where it leads."""
    numbers = re.findall(r'<div class="row" id="L(\d+)"', page)
    return numbers[0], numbers[-1], {to: start for start, to in re.findall(r'from=(\d+)" rel="(\w+)"', page)}


async def test_two_attempts_stand_side_by_side(scene: Scene, here: Town) -> None:
    words = await told(scene, f"/jobs/{here.again.id}/attempts")

    assert "the registry is away" in words
    assert "build took 38.0 s" in words
    assert "not begun" in words  # of the first attempt's steps nothing is kept
    one = await told(scene, f"/jobs/{here.failed.id}/attempts")
    assert "There is one attempt at most" in one


async def test_times_of_a_log_are_told_by_its_lines(scene: Scene, here: Town) -> None:
    await asyncio.sleep(STEP / 1000)
    await scene.logs.append(here.running.id, 1, len(town.RUNNING), "later\nlast\n")
    times = (await scene.get(f"/jobs/{here.running.id}/times?attempt=1")).json()

    assert [line for line, _ in times] == [0, 5]
    assert times[1][1] >= times[0][1] + STEP


@pytest.mark.usefixtures("here")
async def test_an_environment_says_who_released_what_and_why(scene: Scene) -> None:
    page = (await scene.get("/environments/1")).text
    words = await told(scene, "/environments/1")

    assert "3 h ago , by grace: push to main" in words
    assert f"/compare/{'1' * 40}...{'2' * 40}" in page
    assert "blacktree-shop-production-2-web-1 running, healthy" in words


@pytest.mark.usefixtures("here")
async def test_containers_of_several_processes_say_whose_they_are(scene: Scene, store: Store) -> None:
    async with store.transaction() as session:
        session.add(
            ContainerRow(worker="oak-1", name="shop-clock", release_id=2, running=True, process="clock")
        )

    words = await told(scene, "/environments/1")

    assert "shop-clock clock: running" in words
    assert "blacktree-shop-production-2-web-1 web: running, healthy" in words


@pytest.mark.usefixtures("here")
async def test_an_environment_says_where_it_is_reached_by_tcp_and_how_its_log_drain_does(
    scene: Scene, store: Store
) -> None:
    async with store.transaction() as session:
        release = await session.get_one(Release, 2)
        release.settings = {**release.settings, "processes": {"db": {"expose": 5432, "replicas": 1}}}
        session.add(TcpPort(environment_id=1, process="db", port=21000, address="shop.test:21000"))
        session.add(
            LogDrainRow(
                environment_id=1, scope="repository", address="https://logs.test", place=1, dropped=7,
                problem="it answers 401", failing_since=now(),
            )
        )  # fmt: skip

    words = await told(scene, "/environments/1")

    assert "db, by TCP: shop.test:21000" in words
    assert "Goes to https://logs.test too, which takes nothing since" in words
    assert "it answers 401. 7 lines were left out" in words


@pytest.mark.usefixtures("here")
async def test_workers_and_pools_say_what_they_do_and_what_is_wrong(scene: Scene) -> None:
    words = await told(scene, "/workers")

    for said in (
        "1 of 5 slots busy",
        "busy oak-2",
        "problem elm-1",
        "its disk is full",
        "84.0 GB",
        "build web",
    ):
        assert said in words, (said, words)


async def test_deliveries_say_what_came_of_them(scene: Scene, here: Town) -> None:
    every = await told(scene, "/deliveries")
    failed = await told(scene, "/deliveries?state=failed")

    assert "builds web, deploys production run 4" in every
    assert "pull_request" in failed
    assert "deploys production" not in failed
    assert "refs/heads/main" in await told(scene, f"/deliveries/{here.delivery}")


@pytest.mark.parametrize("name", sorted(town.PAGES))
async def test_no_page_has_what_a_stranger_wrote_as_markup_or_any_script_of_its_own(
    scene: Scene, here: Town, name: str
) -> None:
    answer = await scene.get(here.pages[name])
    policy = answer.headers["content-security-policy"]

    assert HOSTILE not in answer.text
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for tag, attributes in Tags(answer.text).found:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (
            tag,
            attributes,
        )
        assert tag != "script" or attributes["src"].startswith("/static/")
        assert not attributes.get("href", "").lower().startswith("javascript")
    for time in re.findall(r"<time[^>]*>", answer.text):
        assert re.search(r'title="\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC"', time)


@pytest.mark.parametrize(
    ("path", "teaches"),
    [
        ("/", "blacktree hook install"),
        ("/workers", "blacktree workers add"),
        ("/deliveries", "blacktree doctor"),
        ("/notifications", "blacktree webhooks create"),
    ],
)
async def test_where_nothing_is_yet_it_is_said_what_to_do(scene: Scene, path: str, teaches: str) -> None:
    await scene.sign_in()

    assert teaches in await told(scene, path)


@pytest.mark.parametrize(
    "path",
    [
        "/runs/99", "/runs/99999999999", "/jobs/1-99", "/jobs/..%2f..", "/jobs/1-99/log", "/jobs/1-99/follow",
        "/environments/9", "/environments/99999999999", "/deliveries/none", "/repositories/acme/none",
        "/none",
    ],
)  # fmt: skip
async def test_what_is_not_there_is_told_as_a_page(scene: Scene, path: str) -> None:
    await scene.sign_in()
    answer = await scene.get(path)

    assert answer.status_code == 404
    assert "Go to the overview" in answer.text
    assert "Traceback" not in answer.text


async def test_programs_are_told_in_json_as_ever(scene: Scene) -> None:
    await scene.sign_in()

    assert (await scene.http.get("/runs/99")).json() == {"message": "there is no run 99"}


async def test_a_theme_that_was_chosen_is_kept(scene: Scene) -> None:
    await scene.sign_in()
    assert 'data-theme="system"' in (await scene.get("/")).text

    answer = await scene.post("/theme", csrf=await scene.csrf(), theme="dark", next="/workers")

    assert answer.headers["location"] == "/workers"
    assert 'data-theme="dark"' in (await scene.get("/workers")).text
    await scene.post("/theme", csrf=await scene.csrf(), theme='"><script>')
    assert 'data-theme="dark"' in (await scene.get("/")).text


@pytest.mark.parametrize("name", STATIC)
async def test_files_of_the_pages_are_fetched_once_and_asked_for_after_that(scene: Scene, name: str) -> None:
    first = await scene.http.get(f"/static/{name}")
    again = await scene.http.get(f"/static/{name}", headers={"if-none-match": first.headers["etag"]})

    assert first.status_code == 200
    assert (again.status_code, again.content) == (304, b"")


def test_every_file_of_the_pages_is_named() -> None:
    assert {file.name for file in (render.FOLDER / "static").iterdir()} == set(STATIC)


async def test_a_long_payload_is_not_read_to_be_shown(scene: Scene, here: Town) -> None:
    async with scene.store.transaction() as session:
        (await session.get_one(Delivery, here.delivery)).payload = '{"x": "' + "y" * 5_000_000 + '"}'

    page = await scene.get(f"/deliveries/{here.delivery}")

    assert "5,000,009 characters" in page.text
    assert len(page.text) < 200_000


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({}, "empty"),
        ({"stopped": True}, "stopped"),
        ({"asleep": True, "stopped": True}, "asleep"),
        ({"maintenance": "back soon"}, "maintenance"),
    ],
)
async def test_an_environment_in_one_word(store: Store, columns: dict[str, object], word: str) -> None:
    await Rows(store).run()
    async with store.transaction() as session:
        session.add(Environment(repository_id=7, name="production", **columns))  # type: ignore[arg-type]
    async with store.reading() as session:
        [place] = await places.places(session, true())

    assert place.state == word


def job(number: int, *needs: int, **columns: Any) -> Job:
    known = {"id": f"1-{number}", "run_id": 1, "kind": Kind.BUILD, "name": "x", "pool": "default"}
    return Job(**{**known, "needs": [f"1-{one}" for one in needs], **columns})


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        ([], []),
        ([job(1)], [["1-1"]]),
        ([job(1), job(2, 1), job(3, 1), job(4, 2, 3)], [["1-1"], ["1-2", "1-3"], ["1-4"]]),
        ([job(1, 9)], [["1-1"]]),  # of another run
        ([job(1, 2), job(2, 1)], [["1-1"], ["1-2"]]),  # nobody plans such, and nobody hangs in it
    ],
)
def test_each_job_stands_right_of_what_it_needs(given: list[Job], columns: list[list[str]]) -> None:
    assert [[one.id for one in column] for column in waterfall.levels(given)] == columns


def test_bars_stand_where_their_time_was() -> None:
    at = before()
    one = job(1, attempt=2, state=JobState.RUNNING, started_at=at - timedelta(seconds=100))
    old = StepRow(job_id="1-1", attempt=1, name="push", started_at=at)
    found = waterfall.bars([one, job(2)], [step(one, "build", 50, None, attempt=2), old], at)

    assert [(bar.name, bar.x, bar.width, bar.state) for bar in found] == [
        ("build x", 0, 1000, "running"),
        ("build", 500, 500, "running"),
    ]


@pytest.mark.parametrize(
    ("seconds", "long", "short"),
    [(0.04, "0.0 s", "0 s"), (8.44, "8.4 s", "8 s"), (59.6, "1 min", "59 s"), (125, "2 min 5 s", "2 min"),
     (3600, "1 h", "1 h"), (5 * 3600 + 125, "5 h 2 min", "5 h"), (3 * 86400 + 7300, "3 d 2 h", "3 d")],
)  # fmt: skip
def test_times_are_told_for_people(seconds: float, long: str, short: str) -> None:
    assert render.duration(seconds) == long
    assert render.distance(seconds) == short


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"state": JobState.WAITING, "unmet": 1}, "Waits until what it needs has succeeded"),
        ({"state": JobState.QUEUED}, "Waits for a free slot in pool default"),
        (
            {"state": JobState.QUEUED, "sentence": "Waits for a worker with arm64"},
            "Waits for a worker with arm64",
        ),
        (
            {"state": JobState.QUEUED, "attempt": 1, "sentence": "503", "not_before": before(days=-1)},
            "Tries again soon: 503",
        ),
        (
            {"state": JobState.RUNNING, "worker": "oak", "cancelling": "a newer commit"},
            "Being stopped: a newer commit",
        ),
    ],
)
def test_a_job_says_what_it_waits_for(columns: dict[str, object], said: str) -> None:
    given = {"not_before": before(seconds=1), "sentence": "", "attempt": 0, **columns}
    assert jobs.says(job(1, 2, **given)) == said


def test_the_package_has_what_its_pages_are_made_of() -> None:
    """The wheel takes whole packages: what is below them and not ignored by git."""
    ignored = subprocess.run(
        ["git", "check-ignore", *map(str, render.FOLDER.rglob("*.*"))],
        cwd=render.FOLDER,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in ignored.stdout.splitlines() if "__pycache__" not in line] == []


@pytest.mark.usefixtures("here")
async def test_a_release_that_was_given_up_says_why(scene: Scene) -> None:
    async with scene.store.transaction() as session:
        release = await session.get_one(Release, 2)
        release.state, release.problem = ReleaseState.FAILED, "web exited with 1"

    assert "web exited with 1" in await told(scene, "/environments/1")


@pytest.mark.parametrize(
    ("agent", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/150.0 Safari/537.36 Edg/150.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/150.0 Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.1", "curl/8.1"),
        ("", "A browser that says nothing of itself"),
    ],
)
def test_a_browser_in_two_words(agent: str, said: str) -> None:
    assert render.browser(agent) == said
