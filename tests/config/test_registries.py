"""Logins in the form of Docker's config.json, and what is said of those that cannot be used."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from config.errors import ConfigError
from config.registries import IDENTITY_TOKEN, Login, canonical, parse_auths, split
from config.settings import load

SECRET = "hunter2-do-not-show"


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("name", "host", "rest"),
    [
        ("ghcr.io/acme", "ghcr.io", "acme"),
        ("ghcr.io", "ghcr.io", ""),
        ("localhost:5000/a/b", "localhost:5000", "a/b"),
        ("localhost/a", "localhost", "a"),
        ("acme/shop", "docker.io", "acme/shop"),
        ("acme", "docker.io", "acme"),
        ("index.docker.io/acme", "docker.io", "acme"),
    ],
)
def test_a_prefix_names_a_host_or_means_docker_hub(name: str, host: str, rest: str) -> None:
    assert split(name) == (host, rest)


@pytest.mark.parametrize(
    ("host", "name"),
    [("GHCR.io", "ghcr.io"), ("registry-1.docker.io", "docker.io"), ("host:5000", "host:5000")],
)
def test_a_host_has_one_name(host: str, name: str) -> None:
    assert canonical(host) == name


@pytest.mark.parametrize(
    ("name", "entry", "login"),
    [
        ("ghcr.io", {"auth": auth("ada:a:b")}, Login("ghcr.io", "ada", "a:b")),
        ("ghcr.io", {"username": "ada", "password": "x"}, Login("ghcr.io", "ada", "x")),
        ("https://index.docker.io/v1/", {"auth": auth("ada:x\0")}, Login("docker.io", "ada", "x")),
        ("host:5000/v2/", {"auth": auth("ada:x"), "email": "a@b"}, Login("host:5000", "ada", "x")),
        (
            "acme.azurecr.io",
            {"auth": auth("0000:"), "identitytoken": "t"},
            Login("acme.azurecr.io", IDENTITY_TOKEN, "t"),
        ),
    ],
)
def test_logins_are_read_as_docker_writes_them(name: str, entry: dict[str, str], login: Login) -> None:
    assert parse_auths(json.dumps({"auths": {name: entry}, "credsStore": "desktop"})) == [login]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (SECRET, "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ([SECRET], "must have the form"),
        ({"ghcr.io": {"auth": SECRET}}, "must have the form"),
        ({"auths": {"": {"auth": auth("a:b")}}}, "is no host"),
        ({"auths": {"ghcr.io": SECRET}}, "auths of ghcr.io: must be an object"),
        ({"auths": {"ghcr.io": {"auth": 1, "password": SECRET}}}, "auths of ghcr.io: must be an object"),
        ({"auths": {"ghcr.io": {}}}, "credsStore"),
        ({"auths": {"ghcr.io": {"username": "ada"}}}, "auths of ghcr.io: needs auth"),
        ({"auths": {"ghcr.io": {"auth": SECRET}}}, "must be base64 of USERNAME:PASSWORD"),
        ({"auths": {"ghcr.io": {"auth": auth(SECRET)}}}, "must be base64 of USERNAME:PASSWORD"),
        ({"auths": {"ghcr.io": {"auth": auth(f"{SECRET}:")}}}, "needs auth"),
    ],
)
def test_logins_that_cannot_be_used_stop_the_start_and_are_not_shown(given: Any, said: str) -> None:
    text = given if isinstance(given, str) else json.dumps(given)

    with pytest.raises(ConfigError) as failed:
        load({"BLACKTREE_REGISTRY_AUTHS": text})

    assert str(failed.value).startswith("BLACKTREE_REGISTRY_AUTHS: ")
    assert said in str(failed.value)
    assert SECRET not in str(failed.value)
    assert auth(SECRET) not in str(failed.value)


def test_the_own_registrys_login_wins_over_the_further_ones() -> None:
    auths = {"ghcr.io": {"auth": auth("old:old")}, "docker.io": {"auth": auth("bob:x")}}
    settings = load(
        {
            "BLACKTREE_REGISTRY": "ghcr.io/acme",
            "BLACKTREE_REGISTRY_USERNAME": "ada",
            "BLACKTREE_REGISTRY_PASSWORD": SECRET,
            "BLACKTREE_REGISTRY_AUTHS": json.dumps({"auths": auths}),
            "BLACKTREE_PUSH_REGISTRIES": "acme, ghcr.io/acme,,localhost:5000/x",
        }
    )

    assert settings.registry_logins == [Login("ghcr.io", "ada", SECRET), Login("docker.io", "bob", "x")]
    assert settings.registries == ["ghcr.io/acme", "acme", "localhost:5000/x"]
    assert SECRET not in repr(settings.registry_logins)
