"""What `blacktree doctor` says of what others could reach."""

from __future__ import annotations

import base64
import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bot.doctor import channels, checks, log_drains, proxy, tcp
from bot.fleet import enrolment
from bot.routing.caddy_config import Serving
from bot.routing.caddy_process import CaddyProcess
from bot.secrets import key_file
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Environment, LogDrainRow, Repository
from config.errors import ConfigError
from config.settings import Settings
from tests.bot.log_drains.receiver import Receiver
from tests.bot.routing.test_caddy import web
from tests.instance import BLACKTREE
from tests.parts.postgres import Postgres

LOGIN = "Basic " + base64.b64encode(b"bot:hidden").decode()


@pytest.mark.parametrize(
    ("guarded", "login", "ok", "said"),
    [
        (False, "", False, "answers whoever reaches it"),
        (False, "bot:hidden@", False, "answers whoever reaches it"),
        (True, "bot:hidden@", True, "Caddy at http://127.0.0.1:"),
        (True, "", False, "Caddy refuses /config/: 401"),
    ],
)
async def test_an_admin_api_that_answers_without_a_credential_is_a_fault(
    guarded: bool, login: str, ok: bool, said: str
) -> None:
    async def config(request: Request) -> PlainTextResponse:
        known = not guarded or request.headers.get("authorization") == LOGIN
        return PlainTextResponse("{}", 200 if known else 401)

    async with web(Starlette(routes=[Route("/config/", config)])) as address:
        check = await proxy(Settings(proxy=f"http://{login}{address}"))

    assert (check.ok, bool(check.todo)) == (ok, not ok)
    assert said in check.found
    assert "hidden" not in check.found


async def test_an_admin_api_at_a_socket_is_well(tmp_path: Path) -> None:
    place = f"unix://{tmp_path}/caddy/admin.sock"
    assert not (await proxy(Settings(proxy=place))).ok
    async with CaddyProcess.running(tmp_path / "caddy", Serving(bind="127.0.0.1")):
        assert (await proxy(Settings(proxy=place))).ok


def doctor(folder: Path) -> str:
    """What it prints, with settings that need nothing outside."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLACKTREE_")}
    environment |= {"BLACKTREE_DATA_DIR": str(folder), "COLUMNS": "500"}
    environment |= {"BLACKTREE_GITHUB_API_URL": "http://127.0.0.1:1"}
    done = subprocess.run([str(BLACKTREE), "doctor"], env=environment, capture_output=True, check=False)
    return done.stdout.decode()


def test_what_others_may_read_is_told_with_the_command_that_mends_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)

    told = doctor(folder)

    assert f"{folder} is open to others (755)" in told
    mend = f"chmod -R go= {folder}"
    assert f"→ {mend}" in told
    subprocess.run(mend.split(), check=True)
    assert f"{folder}, for its user alone" in doctor(folder)


def test_an_sqlite_file_elsewhere_is_looked_at_too(tmp_path: Path) -> None:
    from config.private import exposed

    file = tmp_path / "blacktree.db"
    file.touch(0o644)
    file.chmod(0o644)
    (tmp_path / "data").mkdir(0o700)

    settings = Settings(data_dir=tmp_path / "data", database_url=f"sqlite:///{file}")
    assert exposed(settings) == [(file, 0o644)]
    file.chmod(0o600)
    assert exposed(settings) == []


def test_what_the_command_line_makes_is_its_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "data"
    before = os.umask(0)
    try:
        doctor(folder)
    finally:
        os.umask(before)

    made = [folder.parent, folder, *folder.rglob("*")]
    assert {"blacktree.db"} <= {place.name for place in made}
    assert {place for place in made if stat.S_IMODE(place.stat().st_mode) & 0o077} == set()


def test_a_fresh_instance_is_led_to_its_setup_and_nowhere_else(tmp_path: Path) -> None:
    told = doctor(tmp_path / "data")

    faults = [line for line in told.splitlines() if line.startswith("✗")]
    assert "✗  GitHub          this instance is not set up" in faults
    assert not [line for line in faults if "webhook secret" in line]
    assert "open the /setup that its log names" in told


@pytest.mark.parametrize("has_a_key", [False, True])
async def test_a_second_bot_without_the_first_ones_key_does_not_start_and_is_told_why(
    tmp_path: Path, postgres: Postgres, has_a_key: bool
) -> None:
    url = postgres.create_database("two_keys")
    first = Settings(database_url=url, data_dir=tmp_path / "one")
    second = Settings(database_url=url, data_dir=tmp_path / "two")
    async with Store.opened(url) as store:
        kept = await enrolment.keys(Vault(store, first))
        if has_a_key:
            key_file.make(second.data_dir / "secret.key")

        with pytest.raises(ConfigError, match="Several bots on one PostgreSQL need one key"):
            await enrolment.keys(Vault(store, second))
        check = await anext(checks(second))
        assert (check.part, check.ok, check.todo) == ("store", False, "correct BLACKTREE_SECRET_KEY")
        assert "set the same BLACKTREE_SECRET_KEY for all" in check.found

        text = SecretStr((first.data_dir / "secret.key").read_text().strip())
        second = second.model_copy(update={"secret_key": text})
        assert await enrolment.keys(Vault(store, second)) == kept
        assert (await anext(checks(second))).ok


async def test_a_log_drain_that_is_not_reached_or_takes_nothing_is_told_with_its_reason(
    tmp_path: Path,
) -> None:
    async with Receiver().listening() as there:
        settings = Settings(data_dir=tmp_path, log_drain=f"http://127.0.0.1:{there.port}/in?key=hidden")
        (check,) = [one async for one in log_drains(settings)]
        assert (check.ok, "hidden" in check.found) == (True, False)
        there.answer = lambda _: 403
        (check,) = [one async for one in log_drains(settings)]
        assert (check.ok, "answers 403" in check.found) == (False, True)
    async with Store.opened(settings.store_url) as store, store.transaction() as session:
        session.add(Repository(id=7, full_name="acme/shop", default_branch="main"))
        session.add(Environment(id=1, repository_id=7, name="production"))
        session.add(
            LogDrainRow(environment_id=1, scope="repository", address="https://x", place=1, problem="no")
        )
    checks = [one async for one in log_drains(Settings(data_dir=tmp_path))]
    assert [one.found for one in checks if not one.ok] == ["acme/shop production: https://x: no"]


async def test_a_channel_that_can_be_none_and_tcp_ports_of_which_none_is_left_are_told(
    tmp_path: Path,
) -> None:
    check = await channels(Settings(notify="ops: json://h; odd: nosuch://hidden", data_dir=tmp_path))
    assert (check.ok, check.found) == (False, "apprise knows no such address: odd")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        known = {"proxy_bind": "127.0.0.1", "proxy_ports": "1024-1100", "data_dir": tmp_path}
        (check,) = [one async for one in tcp(Settings(**known, tcp_ports=f"{port}-{port}"))]
    assert (check.ok, check.found) == (False, f"{port}-{port}: 0 given, 0 left")
    assert "TCP_PORTS" in check.todo
