"""The table of operations, its description, and what holds for each of them."""

from __future__ import annotations

import json
from pathlib import Path

from sqlmodel import select
from starlette.routing import BaseRoute, Mount, Route

from bot.store.database import Store
from bot.store.tables import Release, Repository
from bot.web.api.openapi import document, documentation
from bot.web.problems import CODES, OWN
from bot.web.throttle import Rate
from config.settings import Settings
from tests.bot.web.api.conftest import Asked, asked_of


def served(routes: list[BaseRoute]) -> set[tuple[str, str]]:
    """What the application answers below /api/v1."""
    [mount] = [route for route in routes if isinstance(route, Mount) and route.path == "/api/v1"]
    return {
        (method, route.path)
        for route in mount.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


async def test_what_is_served_is_what_is_described_and_nothing_else(asked: Asked) -> None:
    told = await asked.json("/openapi.json")
    described = {(method.upper(), path) for path, methods in told["paths"].items() for method in methods}

    assert described == served(list(asked.web.routes))
    assert told["openapi"].startswith("3.1")


def test_the_documentation_names_every_operation_and_every_code(asked: Asked) -> None:
    page = (Path(__file__).parents[4] / "docs" / "api.md").read_text()
    table = page.partition("<!-- operations -->\n")[2].partition("<!-- end of operations -->")[0]

    assert table == documentation(asked.operations)
    for code, status in {**{code: status for status, code in CODES.items()}, **OWN}.items():
        assert f"| `{code}` | {status} |" in page, code


def test_every_reference_of_the_description_leads_somewhere(asked: Asked) -> None:
    told = document(asked.operations)
    text = json.dumps(told)
    for name in {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in told["components"]["schemas"], name


async def test_every_get_answers_as_it_is_described(store: Store, tmp_path: Path) -> None:
    """Each answer is made by the model that describes it; here each is made once, of what there is."""
    async with asked_of(store, Settings(data_dir=tmp_path, notify="ops: json://127.0.0.1:9/")) as asked:
        some = {
            "{id}": "1", "{guid}": asked.town.delivery, "{owner}": "acme", "{name}": "shop", "{secret}": "A",
            "{task}": "nightly", "{channel}": "ops",
        }  # fmt: skip
        drain = {"logs": {"drain": "https://in.example.com/"}}
        await asked.post("/repositories/acme/shop/webhooks", url="https://hooks.example/x")
        async with asked.store.transaction() as session:
            for release in (await session.exec(select(Release))).all():
                release.settings = {
                    **release.settings,
                    "tasks": {"nightly": {"command": ["./clean"]}},
                } | drain
            shop = (await session.exec(select(Repository).where(Repository.full_name == "acme/shop"))).one()
            shop.channels = {"ops": {"secret": "TEAM_CHAT"}}
        for operation in asked.operations:
            if operation.method != "GET" or operation.media[0] == "text/event-stream":
                continue
            path = operation.template
            if path.startswith("/jobs/"):
                path = path.replace("{id}", asked.town.failed.id)
            if path == "/why":
                path += "?q=4"
            if path.startswith("/workers/"):
                path = path.replace("{name}", "oak-1")
            for name, value in some.items():
                path = path.replace(name, value)
            answer = await asked.get(path)
            assert answer.status_code == 200, (path, answer.text)
            assert answer.headers["content-type"].partition(";")[0] == operation.media[0]


# What is asked ▸ the status and the code that it gets.
WRONG: tuple[tuple[str, str, bytes, int, str], ...] = (
    ("GET", "/nothing", b"", 404, "not_found"),
    ("GET", "/runs/999", b"", 404, "not_found"),
    ("GET", "/runs/" + "9" * 5000, b"", 404, "not_found"),
    ("GET", "/runs/one", b"", 404, "not_found"),
    ("GET", "/jobs/%00", b"", 404, "not_found"),
    ("GET", "/runs?limit=many", b"", 400, "invalid"),
    ("GET", "/runs?repository=", b"", 400, "invalid"),
    ("GET", "/runs?nothing=1", b"", 400, "invalid"),
    ("GET", "/runs?cursor=x", b"", 422, "refused"),
    ("GET", "/jobs?cursor=x", b"", 422, "refused"),
    ("PUT", "/runs", b"", 405, "method_not_allowed"),
    ("POST", "/environments/1/stop", b"{", 400, "invalid"),
    ("POST", "/environments/1/stop", b'{"volumes": 1}', 400, "invalid"),
    ("POST", "/environments/1/stop", b'{"why": "' + b"x" * 70_000 + b'"}', 413, "too_large"),
    ("POST", "/environments/2/stop", b"", 409, "held"),
    ("POST", "/jobs/4-1/cancel", b"", 409, "ended"),
    ("POST", "/jobs/3-1/retry", b"", 409, "in_progress"),
    ("POST", "/runs", b'{"repository": "acme/none"}', 422, "unknown_repository"),
    ("POST", "/runs", b'{"repository": "acme/shop", "tag": "v1", "pull": 3}', 422, "refused"),
    ("DELETE", "/tokens/api", b"", 409, "fixed"),
    ("DELETE", "/repositories/acme/shop/secrets/NONE", b"", 404, "not_found"),
)


async def test_what_goes_wrong_is_a_problem_with_a_code(asked: Asked) -> None:
    for method, path, body, status, code in WRONG:
        answer = await asked.http.request(method, f"/api/v1{path}", content=body)

        assert answer.status_code == status, (path[:40], answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert (told["status"], told["code"], told["message"]) == (status, code, told["detail"]), path[:40]
        assert told["code"] in {*CODES.values(), *OWN}


async def test_a_stranger_and_a_wrong_name_get_problems_too(asked: Asked) -> None:
    stranger = await asked.http.get("/api/v1/runs", headers={"authorization": ""})
    wrong = await asked.http.get("/api/v1/runs", headers={"host": "evil.test"})

    assert (stranger.status_code, stranger.json()["code"]) == (401, "unauthorized")
    assert (wrong.status_code, wrong.json()["code"]) == (421, "wrong_name")


async def test_a_method_that_is_not_there_is_told_which_are(asked: Asked) -> None:
    answer = await asked.http.request("PATCH", "/api/v1/runs")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_what_has_not_changed_is_not_told_again(asked: Asked) -> None:
    first = await asked.get("/runs/1")
    same = await asked.get("/runs/1", **{"if-none-match": first.headers["etag"]})
    other = await asked.get("/runs/2", **{"if-none-match": first.headers["etag"]})

    assert (same.status_code, same.text, same.headers["etag"]) == (304, "", first.headers["etag"])
    assert other.status_code == 200


LISTS = (
    ("/runs", "id", 4),
    ("/jobs", "id", 8),
    ("/deliveries", "guid", 4),
    ("/environments", "id", 3),
    ("/environments/1/releases", "id", 2),
    ("/repositories", "id", 1),
)


async def test_a_list_goes_on_by_its_link_until_all_is_told(asked: Asked) -> None:
    for path, key, most in LISTS:
        whole = [row[key] for row in await asked.json(f"{path}?limit=100")]
        found: list[object] = []
        following = f"/api/v1{path}?limit=1"
        while following:
            answer = await asked.http.get(following)
            assert answer.status_code == 200, answer.text
            found += [row[key] for row in answer.json()]
            following = answer.headers.get("link", "").partition("<")[2].partition(">")[0]

        assert found == whole, path
        assert len(whole) >= most, path


async def test_runs_and_jobs_are_found_by_what_one_looks_for(asked: Asked) -> None:
    async def ids(path: str) -> list[object]:
        return [row["id"] for row in await asked.json(path)]

    assert await ids("/runs?pull=42") == [3]
    assert await ids("/runs?sha=4444&branch=main") == [4]
    assert await ids("/runs?state=failed") == [4]
    assert await ids("/runs?repository=ACME/Shop&actor=grace") == [2]
    assert await ids("/runs?repository=acme/none") == []
    assert await ids("/jobs?state=running") == ["3-1"]
    assert await ids("/jobs?kind=deploy&environment=pr-42") == ["3-3"]


async def test_who_asks_too_often_is_told_for_how_long_to_wait(store: Store, tmp_path: Path) -> None:
    async with asked_of(store, Settings(data_dir=tmp_path), rates=(1, 1)) as here:
        answers = [await here.get("/runs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert answers[-1].json()["code"] == "too_many"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


def test_who_asks_too_often_waits_and_then_goes_on_evenly() -> None:
    at = [100.0]
    rate = Rate(60, lambda: at[0])

    assert [rate.wait("ada") for _ in range(12)] == [0.0] * 12
    assert 0 < rate.wait("ada") <= 1
    assert rate.wait("grace") == 0.0
    at[0] += 1.0
    assert rate.wait("ada") == 0.0
    assert rate.wait("ada") > 0
