"""Logins in the form of Docker's config.json, and what is said of those that cannot be used."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from config.errors import ConfigError
from config.registries import IDENTITY_TOKEN, Login, canonical, identity, is_nearby, parse_auths, split
from config.sources import load

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
    ("same", "names"),
    [
        (
            "localhost:5000/a/b",
            [
                "localhost:5000", "LOCALHOST:5000", "127.0.0.1:5000", "127.1.2.3:5000", "127.1:5000",
                "0x7f.1:5000", "2130706433:5000", "[::1]:5000", "[0:0::1]:5000", "[::ffff:7f00:1]:5000",
                "0.0.0.0:5000", "[::]:5000", "registry.localhost:5000", "localhost:05000",
            ],
        ),
        ("localhost/a/b", ["localhost:80", "127.0.0.1", "[::1]:443", "127.0.0.2:80"]),
        ("ghcr.io/a/b", ["ghcr.io", "GHCR.io:443", "ghcr.io:80"]),
        ("docker.io/a/b", ["", "docker.io", "index.docker.io:443", "registry-1.docker.io"]),
        ("10.0.0.7:5000/a/b", ["10.0.0.7:5000", "10.7:5000"]),
        ("[fd00::1]/a/b", ["[fd00:0::1]", "[FD00::1]:443"]),
        ("public.ecr.aws/a/b", ["public.ecr.aws", "ecr-public.aws.com"]),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a/b",
            [
                "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443", "123456789012.dkr-ecr.eu-west-1.on.aws",
                "123456789012.dkr.ecr-fips.eu-west-1.amazonaws.com",
                "123456789012.dkr-ecr-fips.eu-west-1.on.aws",
            ],
        ),
    ],
)  # fmt: skip
def test_all_names_of_one_registry_are_one(same: str, names: list[str]) -> None:
    assert {identity(f"{name}/a/b".lstrip("/")) for name in names} == {same}


@pytest.mark.parametrize(
    "other",
    [
        "localhost:5001/a", "10.0.0.7:5000/a", "localhost.example.com:5000/a", "127.0.0.1.example.com:5000/a",
        "223456789012.dkr.ecr.eu-west-1.amazonaws.com/a", "123456789012.dkr.ecr.eu-west-2.amazonaws.com/a",
    ],
)  # fmt: skip
def test_other_registries_stay_others(other: str) -> None:
    here = ("localhost:5000/a", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/a")
    assert identity(other) == other
    assert other not in {identity(name) for name in here}


@pytest.mark.parametrize(
    ("host", "nearby"),
    [
        ("localhost:5000", True), ("127.0.0.1:5000", True), ("[::1]:5000", True), ("10.0.0.7", True),
        ("172.17.0.1:5000", True), ("192.168.1.9:5000", True), ("169.254.169.254", True),
        ("100.64.0.1", True),
        ("[fd00::1]:5000", True), ("[fe80::1]", True), ("[::ffff:a00:7]", True), ("0.0.0.0:5000", True),
        ("10.7:5000", True), ("x.localhost", True), ("ghcr.io", False), ("docker.io", False),
        ("1.1.1.1:5000", False), ("[2606:4700::1111]", False), ("registry.example.com:5000", False),
    ],
)  # fmt: skip
def test_a_host_is_nearby_by_its_name_or_its_address(host: str, nearby: bool) -> None:
    assert is_nearby(host) is nearby


def test_no_prefix_lies_below_another_by_whatever_name_its_registry_goes() -> None:
    given = {"BLACKTREE_REGISTRY": "localhost:5000", "BLACKTREE_PUSH_REGISTRIES": "127.0.0.1:5000/acme"}

    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:5000/acme lies below localhost:5000"):
        load(given)


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
