"""What is decided without a registry: names, challenges, when to try again."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from config.registries import IDENTITY_TOKEN
from workers.contract.messages import RegistryLogin
from workers.registry import challenge, ecr
from workers.registry.challenge import Challenge
from workers.registry.patience import Patience, retry_after
from workers.registry.reference import Reference, api_host, is_plain, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "host", "path", "tag", "digest"),
    [
        ("busybox", "docker.io", "library/busybox", None, None),
        ("busybox:1.36", "docker.io", "library/busybox", "1.36", None),
        ("foo.bar", "docker.io", "library/foo.bar", None, None),
        ("acme/shop", "docker.io", "acme/shop", None, None),
        ("docker.io/busybox", "docker.io", "library/busybox", None, None),
        ("index.docker.io/acme/shop:v1", "docker.io", "acme/shop", "v1", None),
        ("ghcr.io/acme/shop:main", "ghcr.io", "acme/shop", "main", None),
        ("GHCR.io/acme/shop", "ghcr.io", "acme/shop", None, None),
        ("registry.gitlab.com/group/sub/shop/web:1", "registry.gitlab.com", "group/sub/shop/web", "1", None),
        ("localhost/shop", "localhost", "shop", None, None),
        ("localhost:5000/a/b:c", "localhost:5000", "a/b", "c", None),
        ("host:5000/shop", "host:5000", "shop", None, None),
        ("127.0.0.1:5000/shop", "127.0.0.1:5000", "shop", None, None),
        ("[::1]:5000/shop", "[::1]:5000", "shop", None, None),
        (f"busybox@{DIGEST}", "docker.io", "library/busybox", None, DIGEST),
        (f"host:5000/shop:v1@{DIGEST}", "host:5000", "shop", "v1", DIGEST),
        ("a/b_c/d__e/f-g.h:X_1.2-3", "docker.io", "a/b_c/d__e/f-g.h", "X_1.2-3", None),
    ],
)
def test_a_reference_is_read_as_docker_does(
    text: str, host: str, path: str, tag: str | None, digest: str | None
) -> None:
    assert parse(text) == Reference(host, path, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "a:", "a@", ":v1", "/a", "a//b", "a/", "Acme", "docker.io/Acme/x", "a b", "a/-b",
        "a..b", "a:-x", "a:" + "x" * 129, "a@sha256:12", f"a@md5:{'0' * 32}", "ghcr.io/", "-x.io/a",
        "x" * 256, "https://ghcr.io/acme/shop", "a@b@c", "ghcr.io/acme/../etc",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no "):
        parse(text)


@pytest.mark.parametrize(
    ("host", "api", "plain"),
    [
        ("docker.io", "registry-1.docker.io", False),
        ("ghcr.io", "ghcr.io", False),
        ("localhost", "localhost", True),
        ("localhost:5000", "localhost:5000", True),
        ("127.1.2.3:80", "127.1.2.3:80", True),
        ("[::1]:5000", "[::1]:5000", True),
        ("localhost.evil.com", "localhost.evil.com", False),
        ("127.0.0.1.evil.com", "127.0.0.1.evil.com", False),
        ("10.0.0.1:5000", "10.0.0.1:5000", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(host: str, api: str, plain: bool) -> None:
    assert (api_host(host), is_plain(host)) == (api, plain)


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", ("123456789012", "eu-central-1", False)),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ("123456789012", "us-gov-west-1", True)),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ("123456789012", "cn-north-1", False)),
        ("123456789012.dkr-ecr.us-east-1.on.aws", ("123456789012", "us-east-1", False)),
        ("public.ecr.aws", None),
        ("12345678901.dkr.ecr.eu-central-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com.evil.com", None),
        ("123456789012.dkr.ecr.evil.com/x.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com:444", None),
    ],
)
def test_hosts_of_ecr_are_known_by_their_names(host: str, found: tuple[str, str, bool] | None) -> None:
    where = ecr.account_of(host)

    assert (where and (where.account, where.region, where.fips)) == found


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ('Basic realm="Registry"', Challenge()),
        ("basic", Challenge()),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"',
            Challenge("https://auth.docker.io/token", "registry.docker.io"),
        ),
        (
            'Bearer realm="https://ghcr.io/token",service="ghcr.io",scope="repository:a/b:pull"',
            Challenge("https://ghcr.io/token", "ghcr.io"),
        ),
        (
            'BEARER Service="a, b" , Realm=https://gitlab.com/jwt/auth',
            Challenge("https://gitlab.com/jwt/auth", "a, b"),
        ),
        ('Basic realm="r", Bearer realm="https://x/t",service="s"', Challenge("https://x/t", "s")),
        ('Bearer realm="https://x/t",service="s", Basic realm="r"', Challenge("https://x/t", "s")),
        ('Negotiate, Bearer realm="https://x/t"', Challenge("https://x/t")),
        ('Negotiate YII/abc+x==, NTLM, Basic realm="a \\"Bearer realm=x\\", b"', Challenge()),
        ('Bearer realm="http://evil.example/t", Basic realm="r"', Challenge()),
        ('Bearer realm="https://[bad/t", Bearer realm="https://x/t"', Challenge("https://x/t")),
        ('Bearer realm="http://evil.example/t"', Challenge("http://evil.example/t")),
        (', ,Basic , ,realm = "r",', Challenge()),
        ('realm="https://x/t"', None),
        ("\"'=,\\", None),
        ('Bearer service="x"', None),
        ("Negotiate", None),
        ("", None),
    ],
)
def test_a_challenge_says_who_gives_tokens(header: str, meant: Challenge | None) -> None:
    assert challenge.read(header, "ghcr.io") == meant


@pytest.mark.parametrize(
    ("realm", "host", "trusted"),
    [
        ("https://auth.docker.io/token", "registry-1.docker.io", True),
        ("http://auth.evil.com/token", "ghcr.io", False),
        ("http://127.0.0.1/token", "ghcr.io", False),
        ("http://127.0.0.1:81/token", "localhost:5000", True),
        ("ftp://auth.docker.io/token", "docker.io", False),
        ("/token", "ghcr.io", False),
        ("https://[bad/token", "ghcr.io", False),
    ],
)
def test_a_login_is_told_to_a_realm_only_where_nobody_listens(realm: str, host: str, trusted: bool) -> None:
    assert challenge.trusted(realm, host) is trusted


def test_a_token_is_asked_for_by_password_or_identity_or_by_nobody() -> None:
    asked = Challenge("https://x/token", "x")
    scope = challenge.scope("a/b", write=True)
    by_password = RegistryLogin(host="x", username="ada", password="secret")
    by_identity = RegistryLogin(host="x", username=IDENTITY_TOKEN, password="refresh")

    nobody = challenge.token_request(asked, scope, None)
    password = challenge.token_request(asked, scope, by_password)
    identity = challenge.token_request(asked, "", by_identity)

    assert scope == "repository:a/b:pull,push"
    assert (nobody.method, nobody.query, nobody.headers) == ("GET", {"service": "x", "scope": scope}, {})
    assert password.query == nobody.query
    assert password.headers == {"Authorization": "Basic " + base64.b64encode(b"ada:secret").decode()}
    assert (identity.method, identity.query, identity.headers) == ("POST", {}, {})
    assert identity.form == {
        "service": "x", "grant_type": "refresh_token", "client_id": "blacktree", "refresh_token": "refresh",
    }  # fmt: skip
    for request in (password, identity):
        assert not {"secret", "refresh"} & set(repr(request).replace("'", " ").split())


@pytest.mark.parametrize(
    ("body", "value", "seconds"),
    [
        (b'{"token": "t", "expires_in": 300}', "t", 240),
        (b'{"access_token": "t", "expires_in": "100"}', "t", 80),
        (b'{"token": "t"}', "t", 48),
        (b'{"token": "t", "expires_in": -5}', "t", 0),
    ],
)
def test_a_token_is_used_for_most_of_its_life(body: bytes, value: str, seconds: float) -> None:
    found = challenge.token(body)

    assert found is not None
    assert found.value == value
    assert found.seconds == pytest.approx(seconds)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token": 1}', b'{"token": "t", "expires_in": "x"}'])
def test_an_answer_without_a_token_has_none(body: bytes) -> None:
    assert challenge.token(body) is None


@pytest.mark.parametrize(
    ("tried", "told", "chance", "seconds"),
    [
        (1, None, 1, 0.5),
        (1, None, 0, 0.25),
        (2, None, 1, 1),
        (3, None, 1, 2),
        (3, None, 0.5, 1.5),
        (4, None, 1, 3),
        (5, None, 1, None),
        (6, None, 1, None),
        (1, 20, 0, 20),
        (1, 20, 1, 20.5),
        (1, 61, 0, None),
        (1, 0, 0, 0),
        (5, 1, 0, None),
    ],
)
def test_the_pause_doubles_up_to_a_limit_unless_the_registry_says_how_long(
    tried: int, told: float | None, chance: float, seconds: float | None
) -> None:
    assert Patience(tries=5, first=0.5, longest=3, told=60).pause(tried, told, lambda: chance) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5),
        (" 0 ", 0),
        ("Wed, 01 Jan 2025 00:00:30 GMT", 30),
        ("Tue, 31 Dec 2024 23:59:00 GMT", 0),
        ("soon", None),
        ("", None),
        ("-1", None),
        ("\xb2", None),
        ("Wed, 01 Jan 99999999999 00:00:30 GMT", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after(header, datetime(2025, 1, 1, tzinfo=UTC)) == seconds
