"""A fresh instance becomes an App: the page, the way to GitHub and back, and nothing half-done."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from pydantic import SecretStr

from bot.github.auth import ASKED
from bot.github.hooks import EVENTS
from bot.github.people import CALLBACK
from bot.main import bot
from bot.secrets.credentials import completed, webhook_secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.web.setup import Setup, manifest
from config.errors import ConfigError
from config.settings import Settings
from config.trust import trusted
from tests.github import Fault, GitHub
from tests.instance import Instance, instance
from tests.parts.waiting import free_port
from workers.contract.memory import MemoryQueue


@dataclass
class Visitor:
    """A person with a browser at a fresh instance whose log they read."""

    http: httpx2.AsyncClient
    setup: Setup
    github: GitHub

    async def form(self, **query: str) -> tuple[str, str]:
        """Where the page's form goes, and the manifest in it."""
        page = await self.http.get(self.setup.address, params={**self.token, **query})
        assert page.status_code == 200, page.text
        action = re.search(r'<form method="post" action="([^"]+)"', page.text)
        inside = re.search(r'name="manifest" value="([^"]+)"', page.text)
        assert action is not None
        assert inside is not None
        return html.unescape(action[1]), html.unescape(inside[1])

    @property
    def token(self) -> dict[str, str]:
        return {"token": parse_qs(urlsplit(self.setup.address).query)["token"][0]}

    async def made(self, **query: str) -> str:
        """Where GitHub sends the browser once the person has clicked there."""
        action, wish = await self.form(**query)
        async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as out:
            answer = await out.post(action, data={"manifest": wish})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]


@pytest.fixture
def settings(tmp_path: Path, github: GitHub) -> Settings:
    return Settings(
        data_dir=tmp_path, github_api_url=github.api_url, public_url="http://127.0.0.1:1", proxy="none"
    )


@pytest.fixture
def vault(store: Store, settings: Settings) -> Vault:
    return Vault(store, settings)


@asynccontextmanager
async def visiting(settings: Settings, vault: Vault, github: GitHub) -> AsyncIterator[Visitor]:
    setup = Setup(settings, vault)
    wire = httpx2.ASGITransport(setup.application())
    async with httpx2.AsyncClient(verify=trusted(), transport=wire) as http:
        yield Visitor(http, setup, github)


@pytest.fixture
async def visitor(settings: Settings, vault: Vault, github: GitHub) -> AsyncIterator[Visitor]:
    async with visiting(settings, vault, github) as one:
        yield one


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=ü", "?state=x&code=y"])
async def test_a_stranger_without_the_token_gets_no_form(visitor: Visitor, query: str) -> None:
    answer = await visitor.http.get(f"{visitor.setup.base}/setup{query}")

    assert answer.status_code == 403
    assert "<form" not in answer.text
    assert visitor.token["token"] not in answer.text


async def test_the_form_asks_github_for_an_app_of_ones_own(visitor: Visitor) -> None:
    action, _ = await visitor.form()

    assert action.startswith(f"{visitor.github.url}/settings/apps/new?state=")


async def test_the_form_for_an_organisation_goes_to_its_page(visitor: Visitor) -> None:
    action, _ = await visitor.form(organization="acme")

    assert action.startswith(f"{visitor.github.url}/organizations/acme/settings/apps/new?state=")


@pytest.mark.parametrize("name", ["../evil", "a/b", "<script>", "a b", "-a"])
async def test_what_is_no_organisations_name_is_refused(visitor: Visitor, name: str) -> None:
    answer = await visitor.http.get(visitor.setup.address, params={**visitor.token, "organization": name})

    assert answer.status_code == 400
    assert name not in answer.text


async def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(visitor: Visitor) -> None:
    page = await visitor.http.get(visitor.setup.address)
    policy = page.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert f"form-action 'self' {visitor.github.url};" in policy
    assert "<script" not in page.text
    assert "script" not in policy
    assert not re.search(r"(src|href)=", page.text)
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "strict-origin"


def test_the_manifest_asks_for_little_and_brings_github_back_here() -> None:
    wish = manifest("https://blacktree.example.com")

    assert wish["public"] is False
    assert wish["hook_attributes"]["url"] == "https://blacktree.example.com/webhooks/github"
    assert wish["redirect_url"] == "https://blacktree.example.com/setup/done"
    written = {name for name, level in wish["default_permissions"].items() if level != "read"}
    assert written == {"statuses", "pull_requests", "deployments"}
    assert "administration" not in wish["default_permissions"]
    assert len(manifest("https://" + "x" * 60 + ".example.com")["name"]) <= 34


async def test_check_runs_are_a_choice_that_asks_for_one_permission_more(visitor: Visitor) -> None:
    page = await visitor.http.get(visitor.setup.address)
    found = re.findall(r'name="manifest" value="([^"]+)"', page.text)
    offered = [json.loads(html.unescape(one)) for one in found]
    action, _ = await visitor.form()

    async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as out:
        answer = await out.post(action, data={"manifest": json.dumps(offered[1])})
    back = await visitor.http.get(answer.headers["location"])

    usual, with_checks = (one["default_permissions"] for one in offered)
    assert usual["checks"] == "read"
    assert with_checks == {**usual, "checks": "write"}
    assert offered[1] == {**offered[0], "default_permissions": with_checks}
    assert back.status_code == 200, back.text
    assert visitor.github.app.permissions["checks"] == "write"
    assert "with check runs: write" in page.text
    assert 'aria-describedby="checks"' in page.text


def test_the_page_for_people_names_the_permissions_and_the_events() -> None:
    page = (Path(__file__).parents[3] / "docs" / "github.md").read_text()
    table = page.partition("| permission | access | for |")[2].partition("\n\n")[0].lower()

    for name, level in ASKED.items():
        row = next(line for line in table.splitlines() if name.replace("_", " ") in line)
        assert f"| {level} |" in row
    assert all(f"`{event}`" in page for event in EVENTS)


@pytest.mark.parametrize("organization", ["", "acme"])
async def test_back_from_github_the_app_is_sealed_and_can_be_installed(
    visitor: Visitor, settings: Settings, vault: Vault, organization: str
) -> None:
    back = await visitor.made(organization=organization)
    page = await visitor.http.get(back)
    app = visitor.github.app

    assert page.status_code == 200
    assert f"{app.slug}/installations/new" in page.text
    assert visitor.setup.done.is_set()
    whole = await completed(settings, vault)
    assert whole.github_app_id == app.id
    assert whole.github_app_private_key == SecretStr(app.private_key)
    assert whole.github_webhook_secret == SecretStr(app.webhook_secret)
    assert (whole.github_client_id, whole.github_client_secret) == (
        app.client_id,
        SecretStr(app.client_secret),
    )
    assert app.callbacks == (f"{visitor.setup.base}{CALLBACK}",)
    other = settings.model_copy(update={"github_app_id": 1})
    assert (await completed(other, vault)).github_client_id == "", "another App has a client of its own"
    assert app.private_key not in page.text
    assert app.webhook_secret not in page.text


async def refused(visitor: Visitor, url: str, status: int, said: str) -> None:
    answer = await visitor.http.get(url)
    assert answer.status_code == status
    assert said in html.unescape(answer.text)
    assert not visitor.setup.done.is_set()
    assert await visitor.setup._vault.all() == {}, "nothing half-done stays"


async def test_an_answer_with_a_foreign_state_is_not_taken(visitor: Visitor) -> None:
    back = urlsplit(await visitor.made())
    code = parse_qs(back.query)["code"][0]

    for state in ("", "x", "ü"):
        url = f"{visitor.setup.base}/setup/done"
        await refused(visitor, f"{url}?code={code}&state={state}", 403, "open the setup page again")
    assert not any("conversions" in request.path for request in visitor.github.requests)


async def test_a_state_is_good_for_one_answer_and_for_an_hour(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, young = await visitor.made(), await visitor.made()
    used = parse_qs(urlsplit(young).query)["state"][0]
    url = f"{visitor.setup.base}/setup/done?state={used}&code="
    await refused(visitor, url + "nonsense", 502, "delete it there")
    await refused(visitor, url + "nonsense", 403, "open the setup page again")

    later = asyncio.get_running_loop().time() + 3601
    monkeypatch.setattr("bot.web.setup.time", SimpleNamespace(monotonic=lambda: later))  # the loop's goes on
    await refused(visitor, old, 403, "open the setup page again")


async def test_a_page_that_is_loaded_again_and_again_keeps_few_states(visitor: Visitor) -> None:
    for _ in range(60):
        await visitor.http.get(visitor.setup.address)

    assert len(visitor.setup._states) == 20


@pytest.mark.parametrize("code", ["", "../../user", "a b", "x" * 300])
async def test_a_code_that_is_none_is_not_sent_to_github(visitor: Visitor, code: str) -> None:
    action, _ = await visitor.form()
    state = parse_qs(urlsplit(action).query)["state"][0]
    seen = len(visitor.github.requests)
    query = str(httpx2.QueryParams({"state": state, "code": code}))

    await refused(visitor, f"{visitor.setup.base}/setup/done?{query}", 400, "GitHub sent no code")
    assert len(visitor.github.requests) == seen


async def test_when_github_is_down_the_same_page_works_later(visitor: Visitor) -> None:
    back = await visitor.made()
    visitor.github.faults.add(Fault(status=503, path="conversions"))

    await refused(visitor, back, 502, "Load this page again")

    assert (await visitor.http.get(back)).status_code == 200
    assert visitor.setup.done.is_set()


async def test_a_code_that_was_used_says_to_delete_the_app_and_shows_no_code(visitor: Visitor) -> None:
    back = await visitor.made()
    code = parse_qs(urlsplit(back).query)["code"][0]
    async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http:
        await http.post(f"{visitor.github.api_url}/app-manifests/{code}/conversions")

    answer = await visitor.http.get(back)

    assert answer.status_code == 502
    assert "delete it there" in answer.text
    assert code not in answer.text
    assert await visitor.setup._vault.all() == {}


async def test_an_answer_that_is_no_whole_app_is_not_kept(visitor: Visitor) -> None:
    back = await visitor.made()
    body = {"id": 7, "slug": "x", "html_url": "x", "pem": "geheim", "webhook_secret": None}
    visitor.github.faults.add(Fault(status=201, path="conversions", body=body))

    answer = await visitor.http.get(back)

    assert answer.status_code == 502
    assert "geheim" not in answer.text
    assert await visitor.setup._vault.all() == {}


async def test_of_two_who_set_up_at_once_the_second_comes_too_late(visitor: Visitor, vault: Vault) -> None:
    first, second = await visitor.made(), await visitor.made()

    assert (await visitor.http.get(second)).status_code == 200
    kept = await vault.all()
    assert (await visitor.http.get(first)).status_code == 404
    assert (await visitor.http.get(visitor.setup.address)).status_code == 404
    assert await vault.all() == kept


async def test_an_instance_that_github_cannot_reach_says_so_before_the_app_is_made(
    tmp_path: Path, vault: Vault, github: GitHub
) -> None:
    async with visiting(Settings(data_dir=tmp_path), vault, github) as visitor:
        page = await visitor.http.get(visitor.setup.address)

    assert page.status_code == 409
    assert "set BLACKTREE_PUBLIC_URL" in page.text


async def test_webhooks_and_readiness_wait_for_the_setup(visitor: Visitor) -> None:
    base = visitor.setup.base
    hook = await visitor.http.post(f"{base}/webhooks/github", json={})

    assert hook.status_code == 503
    assert "not set up" in hook.json()["message"]
    assert (await visitor.http.get(f"{base}/readyz")).status_code == 503
    front = await visitor.http.get(base)
    assert (front.status_code, front.json()["message"]) == (
        503,
        "this instance is not set up yet: its log says where",
    )
    assert (await visitor.http.get(f"{base}/healthz")).status_code == 200


async def test_settings_win_over_what_is_sealed(settings: Settings, visitor: Visitor, vault: Vault) -> None:
    await visitor.http.get(await visitor.made())

    token = await completed(settings.model_copy(update={"github_token": SecretStr("t")}), vault)
    rotated = await completed(settings.model_copy(update={"github_webhook_secret": SecretStr("s")}), vault)

    assert token.github_app_id is None
    assert rotated.github_webhook_secret == SecretStr("s")
    assert rotated.github_app_id == visitor.github.app.id


async def test_the_sealed_secret_is_taken_beside_a_new_one_when_asked_for(
    settings: Settings, visitor: Visitor, vault: Vault
) -> None:
    asked = {"github_webhook_secret": SecretStr("new"), "github_webhook_secret_previous": SecretStr("sealed")}
    with pytest.raises(ConfigError, match="there is no sealed one"):
        await completed(settings.model_copy(update=asked), vault)
    await visitor.http.get(await visitor.made())
    sealed = visitor.github.app.webhook_secret.encode()

    assert webhook_secrets(await completed(settings.model_copy(update=asked), vault)) == (b"new", sealed)
    del asked["github_webhook_secret_previous"]
    assert webhook_secrets(await completed(settings.model_copy(update=asked), vault)) == (b"new",)


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


async def delivered(url: str, secret: str, guid: str) -> int:
    headers = {
        "X-GitHub-Event": "ping",
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": signature(secret, b"{}"),
        "Content-Type": "application/json",
    }
    async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http:
        return (await http.post(f"{url}/webhooks/github", content=b"{}", headers=headers)).status_code


async def test_a_bot_goes_to_work_as_soon_as_it_is_set_up(
    tmp_path: Path, github: GitHub, capfd: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = Settings(data_dir=tmp_path, github_api_url=github.api_url, port=port, proxy="none")
    started = asyncio.Event()

    async def run() -> None:
        async with bot(settings, MemoryQueue(), asyncio.Event()):
            started.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(run())
    try:
        address = await said(capfd)
        assert address.startswith(f"{url}/setup?token=")
        async with httpx2.AsyncClient(
            verify=trusted(), trust_env=False, follow_redirects=True, timeout=60
        ) as browser:
            page = (await browser.get(address)).text
            action, wish = (
                html.unescape(re.findall(pattern, page)[0])
                for pattern in ('method="post" action="([^"]+)"', 'name="manifest" value="([^"]+)"')
            )
            done = await browser.post(action, data={"manifest": wish})
        assert done.status_code == 200
        assert "Install the App" in done.text

        async with asyncio.timeout(60):
            await started.wait()
        assert await delivered(url, github.app.webhook_secret, "1") == 202
        assert await delivered(url, "another", "2") == 401
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async with bot(settings, MemoryQueue(), asyncio.Event()) as again:
        assert await delivered(again, github.app.webhook_secret, "3") == 202, "it remembers after a restart"


async def test_a_second_bot_on_the_store_follows_when_the_first_is_set_up(
    tmp_path: Path, github: GitHub, store: Store
) -> None:
    known = {"data_dir": tmp_path, "github_api_url": github.api_url, "port": free_port(), "proxy": "none"}
    settings = Settings.model_validate(known)

    async def run() -> str:
        async with bot(settings, MemoryQueue(), asyncio.Event()) as url:
            return url

    running = asyncio.create_task(run())
    await asyncio.sleep(0.5)
    assert not running.done()
    async with visiting(settings, Vault(store, settings), github) as first:
        await first.http.get(await first.made())

    async with asyncio.timeout(60):
        assert await running == f"http://127.0.0.1:{settings.port}"


async def said(capfd: pytest.CaptureFixture[str]) -> str:
    """The address that the log names."""
    text = ""
    async with asyncio.timeout(60):
        while not (found := re.search(r"open (http\S+)", text)):
            await asyncio.sleep(0.05)
            captured = capfd.readouterr()
            text += captured.out + captured.err
    return found[1]


async def test_during_a_rotation_both_secrets_are_taken(tmp_path: Path, github: GitHub) -> None:
    known = {"data_dir": tmp_path, "github_api_url": github.api_url, "port": free_port(), "proxy": "none"}
    secrets = {"github_webhook_secret": "new" * 9, "github_webhook_secret_previous": "old" * 9}
    settings = Settings.model_validate({**known, **secrets, "github_token": "t"})

    async with bot(settings, MemoryQueue(), asyncio.Event()) as url:
        assert await delivered(url, "new" * 9, "1") == 202
        assert await delivered(url, "old" * 9, "2") == 202
        assert await delivered(url, "other", "3") == 401
        assert await delivered(url, "", "4") == 401


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"github_token": "t"}, "BLACKTREE_GITHUB_WEBHOOK_SECRET is missing"),
        ({"github_webhook_secret": "s" * 20}, "GitHub credentials are missing"),
    ],
)
async def test_half_of_the_credentials_is_no_fresh_instance(
    tmp_path: Path, given: dict[str, str], named: str
) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "port": free_port(), "proxy": "none", **given})

    with pytest.raises((ConfigError, ExceptionGroup)) as caught:
        async with bot(settings, MemoryQueue(), asyncio.Event()):
            pass

    assert named in repr(caught.value)


FRESH = {"github_webhook_secret": "", "github_app_id": "", "github_app_private_key": ""}


async def test_a_fresh_process_waits_for_its_setup_and_stops_when_told(
    tmp_path: Path, github: GitHub
) -> None:
    async with instance(tmp_path, github, **FRESH) as here:
        process = await here.start("up")
        await here.until(lambda: _setup_said(here), "the address of the setup")

        async with httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=60) as http:
            assert (await http.get(f"{here.url}/setup")).status_code == 403
        assert await process.stop() == 0
        assert "Traceback" not in process.said()


async def _setup_said(here: Instance) -> bool:
    return f"open {here.url}/setup?token=" in here.processes[0].said()
