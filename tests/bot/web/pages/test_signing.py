"""Who may look: signing in, staying in, signing out, and what cannot be done in somebody's name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlmodel import select, update
from starlette.requests import Request

from bot.cli import main
from bot.store.database import Store
from bot.store.tables import SessionRow, SignInLink
from bot.web.pages import forms
from bot.web.sessions import Sessions
from bot.web.throttle import MOST, WITHIN, Throttle
from config.settings import Settings
from tests.bot.intake.test_receiver import TOKEN
from tests.bot.talk import Talk
from tests.bot.web.pages.conftest import Scene, scene_of
from workers.contract.messages import now

FILE = "environments:\n  production: {}\n"
PUBLIC = "ci.example.com"


def path_of(link: str) -> str:
    told = urlsplit(link)
    return f"{told.path}?{told.query}"


def code_of(link: str) -> str:
    return urlsplit(link).query.removeprefix("code=")


def cookie_of(answer: httpx2.Response) -> SimpleCookie:
    return SimpleCookie(answer.headers["set-cookie"])


async def test_a_browser_is_led_to_the_form_and_after_it_to_where_it_wanted_to_go(scene: Scene) -> None:
    led = await scene.get("/jobs/1-1?attempt=2")
    assert led.status_code == 303
    assert led.headers["location"] == "/sign-in?next=%2Fjobs%2F1-1%3Fattempt%3D2"
    form = await scene.get(led.headers["location"])
    assert 'value="/jobs/1-1?attempt=2"' in form.text

    done = await scene.post("/sign-in", token=TOKEN, next="/jobs/1-1?attempt=2")

    assert (done.status_code, done.headers["location"]) == (303, "/jobs/1-1?attempt=2")
    assert (await scene.get("/")).status_code == 200


async def test_a_program_without_the_token_is_asked_for_it_as_ever(scene: Scene) -> None:
    refused = await scene.http.get("/jobs/1-1")

    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Basic ")


async def test_the_link_in_a_status_gives_the_log_to_the_token_and_the_page_to_a_session(
    scene: Scene,
) -> None:
    with_token = await scene.http.get("/jobs/1-1", headers={"authorization": f"Bearer {TOKEN}"})
    assert with_token.headers["location"] == "/api/v1/jobs/1-1/log"
    await scene.sign_in()

    assert (await scene.get("/jobs/1-1")).status_code == 404
    assert "there is no job 1-1" in (await scene.get("/jobs/1-1")).text.lower()


@pytest.mark.parametrize("token", ["", "x", TOKEN + "x", "é"])
async def test_another_token_opens_nothing(scene: Scene, token: str) -> None:
    refused = await scene.post("/sign-in", token=token)

    assert refused.status_code == 403
    assert "blacktree token" in refused.text
    assert "set-cookie" not in refused.headers


async def test_a_link_signs_in_once_and_only_after_a_click(scene: Scene) -> None:
    link = await scene.sessions.link(scene.url)
    for _ in range(2):  # whoever looks what is behind it uses it up for nobody
        assert "works once" in (await scene.get(path_of(link))).text

    first = await scene.post("/sign-in", code=code_of(link))
    scene.http.cookies.clear()
    second = await scene.post("/sign-in", code=code_of(link))

    assert first.status_code == 303
    assert second.status_code == 403
    assert "blacktree login-link" in second.text


async def test_a_link_that_is_too_old_opens_nothing(scene: Scene) -> None:
    link = await scene.sessions.link(scene.url)
    async with scene.store.transaction() as session:
        await session.exec(update(SignInLink).values(expires_at=now() - timedelta(seconds=1)))

    assert (await scene.post("/sign-in", code=code_of(link))).status_code == 403


async def test_the_store_knows_neither_cookie_nor_code(scene: Scene) -> None:
    code = code_of(await scene.sessions.link(scene.url))
    async with scene.store.reading() as session:
        links = (await session.exec(select(SignInLink))).all()
    value = next(iter(cookie_of(await scene.post("/sign-in", token=TOKEN)).values())).value
    async with scene.store.reading() as session:
        rows = (await session.exec(select(SessionRow))).all()

    assert rows
    assert links
    assert value not in str(rows)
    assert code not in str(links)


async def test_a_cookie_is_for_this_host_and_no_script(scene: Scene) -> None:
    [cookie] = cookie_of(await scene.post("/sign-in", token=TOKEN)).values()

    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert not cookie["domain"]
    assert not cookie["secure"]  # this bot is reached by plain HTTP


@asynccontextmanager
async def behind_tls(store: Store, folder: Path) -> AsyncIterator[Scene]:
    """A bot that people reach by https, whose proxy tells its name."""
    settings = Settings(data_dir=folder, public_url=f"https://{PUBLIC}")
    async with scene_of(store, folder, settings) as scene:
        scene.http.headers["host"] = PUBLIC
        yield scene


async def test_where_people_come_by_https_the_cookie_goes_nowhere_else(store: Store, tmp_path: Path) -> None:
    async with behind_tls(store, tmp_path) as scene:
        answer = await scene.post("/sign-in", f"https://{PUBLIC}", token=TOKEN)
        [(name, cookie)] = cookie_of(answer).items()
        known = await scene.get("/", cookie=f"{name}={cookie.value}")
        plain = await scene.get("/", host="127.0.0.1", cookie=f"{name}={cookie.value}")

    assert name.startswith("__Host-")
    assert cookie["secure"]
    assert known.status_code == 200
    assert plain.status_code == 303  # the same cookie, by a way that is not that of the public name


async def test_over_plain_http_a_cookie_counts_from_its_own_address_only(scene: Scene) -> None:
    """Cookies know no ports: an app at another port of this host may be told it."""
    await scene.sign_in()
    async with scene.store.transaction() as session:
        [row] = (await session.exec(select(SessionRow))).all()
        assert row.address == "127.0.0.1"
        row.address = "192.0.2.9"

    assert (await scene.get("/")).status_code == 303


async def test_a_cookie_opens_pages_and_no_api(scene: Scene) -> None:
    await scene.sign_in()

    assert (await scene.get("/")).status_code == 200
    for path in ("/api/v1/runs", "/api/v1/deliveries", "/metrics"):
        assert (await scene.get(path)).status_code == 401, path


async def test_a_session_ends_by_itself(scene: Scene) -> None:
    await scene.sign_in()
    async with scene.store.transaction() as session:
        await session.exec(update(SessionRow).values(expires_at=now() - timedelta(seconds=1)))

    assert (await scene.get("/")).status_code == 303
    await scene.sign_in()  # and its row goes
    assert len(await scene.sessions.all()) == 1


async def test_with_another_token_nobody_is_signed_in(scene: Scene, store: Store) -> None:
    await scene.sign_in()
    [row] = await scene.sessions.all()
    link = await scene.sessions.link(scene.url)
    other = Sessions(store, "another token")

    assert row.mark not in {other._mark("session", value) for value in scene.http.cookies.values()}
    assert not await other.redeem(code_of(link))


async def test_signing_out_ends_the_session_at_the_bot_too(scene: Scene) -> None:
    await scene.sign_in()
    kept = dict(scene.http.cookies)

    out = await scene.post("/sign-out", csrf=await scene.csrf())
    scene.http.cookies.update(kept)

    assert out.headers["location"] == "/sign-in"
    assert (await scene.get("/")).status_code == 303


async def test_another_browser_is_signed_out_from_here(scene: Scene) -> None:
    await scene.sign_in()
    lost = dict(scene.http.cookies)
    [row] = await scene.sessions.all()
    scene.http.cookies.clear()
    await scene.sign_in()
    assert row.mark in (await scene.get("/sessions")).text

    await scene.post("/sign-out", csrf=await scene.csrf(), mark=row.mark)

    assert (await scene.get("/")).status_code == 200
    scene.http.cookies.clear()
    scene.http.cookies.update(lost)
    assert (await scene.get("/")).status_code == 303


@pytest.mark.parametrize("path", ["/sign-out", "/theme"])
async def test_a_form_needs_what_our_page_told(scene: Scene, path: str) -> None:
    await scene.sign_in()
    csrf = await scene.csrf()

    assert (await scene.post(path, csrf="")).status_code == 403
    assert (await scene.post(path, csrf="0" * len(csrf))).status_code == 403
    assert (await scene.post(path, "https://evil.test", csrf=csrf)).status_code == 403
    assert (await scene.post(path, "", csrf=csrf)).status_code == 403
    assert (await scene.post(path, "null", csrf=csrf)).status_code == 403
    assert (await scene.post(path, csrf=csrf)).status_code == 303


async def test_nobody_is_signed_in_by_a_page_of_another_place(scene: Scene) -> None:
    for origin in ("https://evil.test", "null", ""):
        answer = await scene.post("/sign-in", origin, token=TOKEN)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_a_page_whose_name_was_pointed_here_gets_no_form(scene: Scene) -> None:
    assert (await scene.get("/sign-in", host="evil.test")).status_code == 421


async def test_who_guesses_has_to_wait_and_who_waited_may_come_in(scene: Scene) -> None:
    for _ in range(MOST):
        assert (await scene.post("/sign-in", token="a guess")).status_code == 403

    held = await scene.post("/sign-in", token=TOKEN)

    assert held.status_code == 429
    assert 0 < int(held.headers["retry-after"]) <= WITHIN


def test_a_minute_later_one_may_try_again_and_others_are_not_held_meanwhile() -> None:
    at = [0.0]
    throttle = Throttle(lambda: at[0])
    for _ in range(MOST):
        throttle.failed("192.0.2.1")

    assert throttle.wait("192.0.2.1") == WITHIN
    assert throttle.wait("192.0.2.2") == 0
    at[0] = WITHIN
    assert throttle.wait("192.0.2.1") == 0


def test_what_many_addresses_guess_is_remembered_in_bounds() -> None:
    throttle = Throttle(lambda: 0.0)
    for number in range(10_000):
        throttle.failed(str(number))

    assert len(throttle._failures) <= 1024


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "https://evil.test",
        "//evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/\n/x",
        "x",
    ],
)
def test_one_is_led_to_no_other_host(wanted: str) -> None:
    assert forms.local(wanted) == "/"


async def test_a_form_has_few_bytes_and_few_fields(scene: Scene) -> None:
    assert (await scene.post("/sign-in", token="x" * 20_000)).status_code == 413
    assert (await scene.post("/sign-in", **{str(at): "x" for at in range(30)})).status_code == 400


async def test_only_the_first_start_prints_a_link(scene: Scene) -> None:
    first, second = await scene.sessions.first_link("http://a"), await scene.sessions.first_link("http://a")

    assert first
    assert second is None
    assert (await scene.post("/sign-in", code=code_of(first))).status_code == 303


async def test_the_command_line_prints_a_link_that_the_running_bot_takes(
    talk: Talk, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["blacktree", "login-link"])
    monkeypatch.setenv("BLACKTREE_DATA_DIR", str(tmp_path / "bot"))
    await _in_thread(main)
    link = capsys.readouterr().out.strip().splitlines()[-1]
    url = str(talk.api.base_url).removesuffix("/api/v1/")

    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        done = await http.post("/sign-in", data={"code": code_of(link)}, headers={"origin": url})
        page = await http.get("/", headers={"accept": "text/html"})

    assert link.startswith("http://")
    assert done.status_code == 303
    assert "Overview" in page.text


async def _in_thread(work: Callable[[], None]) -> None:
    with pytest.raises(SystemExit) as ended:
        await asyncio.to_thread(work)
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("public", "host", "secure"),
    [
        ("https://deploy.example.com", "deploy.example.com", True),
        ("https://Deploy.Example.com", "deploy.example.com", True),
        ("https://deploy.example.com:443", "deploy.example.com", True),
        ("https://deploy.example.com:8443", "deploy.example.com:8443", True),
        ("https://deploy.example.com:8443", "deploy.example.com", False),
        ("https://deploy.example.com", "127.0.0.1:8000", False),
        ("http://deploy.example.com", "deploy.example.com", False),
    ],
)
async def test_a_cookie_is_secure_however_the_public_name_is_written(
    store: Store, public: str, host: str, secure: bool
) -> None:
    came = Request({"type": "http", "headers": [(b"host", host.encode())]})

    name, given = Sessions(store, TOKEN, public).door(came)

    assert (given, name.startswith("__Host-")) == (secure, secure)
