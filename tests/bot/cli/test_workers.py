"""`blacktree workers`: credentials are made, shown once, replaced and revoked."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from config.errors import ConfigError
from workers.contract.credential import Credential

KEY = "a key that is long enough"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLACKTREE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("BLACKTREE_SECRET_KEY", KEY)
    monkeypatch.setenv("BLACKTREE_QUEUE_URL", "amqp://bot:geheim@127.0.0.1/deploy")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["workers", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_a_credential_is_printed_once_and_names_worker_and_pool() -> None:
    made = Credential.parse(run("add", "one", "--pool", "forks"))

    assert (made.name, made.pool) == ("one", "forks")
    with pytest.raises(ConfigError, match=r"worker one has a credential already, for pool forks: .*replace"):
        run("add", "one")
    again = Credential.parse(run("add", "one", "--replace"))
    assert again.keys != made.keys
    assert again.bot == made.bot
    assert made.text not in run("list")


def test_a_file_is_its_owners_alone_and_once_leaves_it_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "one.credential"

    run("add", "one", "--file", str(file), "--once")
    assert file.stat().st_mode & 0o777 == 0o600
    first = file.read_text()
    run("add", "one", "--file", str(file), "--once")
    assert file.read_text() == first
    file.unlink()
    run("add", "one", "--file", str(file), "--once")
    assert Credential.parse(file.read_text()).keys != Credential.parse(first).keys


def test_a_revoked_worker_is_added_again_by_somebody_only(tmp_path: Path) -> None:
    file = tmp_path / "one.credential"
    run("add", "one", "--file", str(file), "--once")

    assert "worker one is revoked" in run("revoke", "one")

    assert re.search(r"one +default .*revoked", run("list"))
    with pytest.raises(ConfigError, match="one was revoked"):
        run("add", "one", "--file", str(file), "--once")
    with pytest.raises(ConfigError, match="was revoked before"):
        run("revoke", "one")
    with pytest.raises(ConfigError, match="two was never added"):
        run("revoke", "two")
    assert Credential.parse(run("add", "one")).name == "one"


@pytest.mark.parametrize("name", ["", "a b", "a:b", "x" * 65, "ü"])
def test_a_name_that_is_none_is_said(name: str) -> None:
    with pytest.raises(ConfigError, match="must have letters, digits"):
        run("add", name)


def test_permissions_are_of_those_who_may_and_have_no_password() -> None:
    one = Credential.parse(run("add", "one.x", "--pool", "forks"))
    run("add", "gone")
    run("revoke", "gone")

    printed = run("permissions")

    told = json.loads(printed)
    assert [user["name"] for user in told["users"]] == ["blacktree.one.x"]
    salted = base64.b64decode(told["users"][0]["password_hash"])
    assert hashlib.sha256(salted[:4] + one.broker_password.encode()).digest() == salted[4:]
    assert one.broker_password not in printed
    (may,) = told["permissions"]
    assert may["vhost"] == "deploy"
    for kind, yes in (
        ("configure", ["blacktree.orders.one.x"]),
        ("write", ["blacktree.told"]),
        ("read", ["blacktree.orders.one.x", "blacktree.jobs-6.forks", "blacktree.jobs-6.forks+arm64+gpu"]),
    ):
        assert all(re.search(may[kind], name) for name in yes)
        for no in (
            "amq.default",
            "blacktree.orders.oneyx",
            "blacktree.jobs-6.forks2",
            "blacktree.requests",
            "blacktree.jobs-6.default+gpu",
        ):
            assert not re.search(may[kind], no)


def test_what_it_makes_is_its_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        run("list")
    finally:
        os.umask(before)

    made = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
    assert {"blacktree.db"} <= {place.name for place in made}
    assert [place for place in made if place.stat().st_mode & 0o077] == []
