"""Digests are asked for and tags are moved at real registries, with no pull and no push."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvicorn

from config.registries import IDENTITY_TOKEN
from config.settings import Settings
from tests.parts.aws import EcrRegistry
from tests.parts.faults import Faults
from tests.parts.registry import Registry
from tests.parts.tokens import IDENTITY, TokenRegistry, TokenServer
from tests.workers.registry.conftest import INDEX, Seeds, login_at
from workers.contract.failure import Failure
from workers.contract.messages import Credentials, Fault, RegistryLogin
from workers.registry.registries import AttemptRegistry, Registries
from workers.registry.transport import CERTIFICATES

Having = Callable[..., AttemptRegistry]
REFUSED = json.dumps(
    {"errors": [{"code": "TAG_INVALID", "message": "The image tag 'v1' cannot be overwritten: immutable."}]}
)


async def test_tags_are_moved_by_the_manifest_alone_also_for_several_platforms(
    attempt: AttemptRegistry, host: str, faults: Faults, registry: Registry, seeds: Seeds, name: str
) -> None:
    image = seeds.image(f"{name}/shop", "v1", "one")
    index = seeds.index(f"{name}/shop", "v2", image, seeds.image(f"{name}/shop", "other", "two"))

    await attempt.tag(f"{host}/{name}/shop", image, ["main", "1.2"])
    await attempt.tag(f"{host}/{name}/shop", index, ["latest"])

    assert [registry.digest(f"{name}/shop", tag) for tag in ("main", "1.2", "latest")] == [
        image,
        image,
        index,
    ]
    assert registry.manifest(f"{name}/shop", "latest")["mediaType"] == INDEX
    assert await attempt.digest(f"{host}/{name}/shop:latest") == index
    assert await attempt.digest(f"{host}/{name}/shop@{image}") == image
    assert await attempt.digest(f"{host}/{name}/shop:nothing") is None
    assert await attempt.digest(f"{host}/{name}/nowhere:latest") is None
    assert {one.method for one in faults.asked} == {"GET", "HEAD", "PUT"}
    assert all("/manifests/" in one.path for one in faults.asked)


async def test_an_image_that_is_gone_cannot_be_tagged(
    attempt: AttemptRegistry, host: str, registry: Registry, seeds: Seeds, name: str
) -> None:
    seeds.image(f"{name}/shop", "v1", "one")

    with pytest.raises(Failure, match="does not have") as failed:
        await attempt.tag(f"{host}/{name}/shop", f"sha256:{'0' * 64}", ["main"])

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "image_missing")
    assert registry.tags(f"{name}/shop") == ["v1"]


async def test_what_may_pass_is_tried_again(
    attempt: AttemptRegistry, host: str, faults: Faults, registry: Registry, seeds: Seeds, name: str
) -> None:
    digest = seeds.image(f"{name}/shop", "v1", "one")
    faults.fail("HEAD", "/manifests/v1", times=2, status=503)
    assert await attempt.digest(f"{host}/{name}/shop:v1") == digest

    faults.fail("GET", "/manifests/", status=429, headers={"Retry-After": "0"})
    faults.fail("PUT", "/manifests/main", status=500, body="not JSON")
    faults.cut("PUT", "/manifests/main", after=10)
    await attempt.tag(f"{host}/{name}/shop", digest, ["main"])
    assert registry.digest(f"{name}/shop", "main") == digest


@pytest.mark.parametrize(
    ("times", "headers", "asked"), [(3, {}, 3), (1, {"Retry-After": "3600"}, 1)], ids=["limit", "told"]
)
async def test_what_does_not_pass_is_given_up(
    attempt: AttemptRegistry, host: str, faults: Faults, times: int, headers: dict[str, str], asked: int
) -> None:
    faults.fail("HEAD", "/manifests/", times=times, status=429, headers=headers)

    with pytest.raises(Failure, match=f"{host} did not do what it was asked") as failed:
        await attempt.digest(f"{host}/acme/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "registry_unreachable")
    assert len(faults.asked) == asked


async def test_a_page_in_the_place_of_a_manifest_is_no_image(
    attempt: AttemptRegistry, host: str, faults: Faults, seeds: Seeds, name: str
) -> None:
    seeds.image(f"{name}/shop", "v1", "one")
    faults.fail("HEAD", "/manifests/v1", status=200)
    faults.fail("GET", "/manifests/v1", status=200, body="<html>Sign in</html>")

    with pytest.raises(Failure, match="something else than a manifest") as failed:
        await attempt.digest(f"{host}/{name}/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "registry_broken")


async def test_whoever_comes_again_is_told_at_once(host: str, faults: Faults, tmp_path: Path) -> None:
    faults.fail("HEAD", "/manifests/", status=429, headers={"Retry-After": "30"})
    asking = Registries(Settings(), certificates=tmp_path).of(Credentials(), once=True)

    with pytest.raises(Failure, match=f"{host} did not do what it was asked") as failed:
        await asking.digest(f"{host}/acme/shop:v1")

    assert (failed.value.fault, len(faults.asked)) == (Fault.OURS, 1)


async def test_nobody_at_home_is_worth_another_attempt(having: Having, free_port: Callable[[], int]) -> None:
    with pytest.raises(Failure) as failed:
        await having().digest(f"localhost:{free_port()}/acme/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "registry_unreachable")


@pytest.mark.parametrize("password", ["wrong", None])
async def test_a_refused_login_is_final_and_says_whose(
    having: Having, registry: Registry, password: str | None
) -> None:
    login = RegistryLogin(host=registry.address, username="mallory", password=password or "")
    attempt = having(*([login] if password else []))

    with pytest.raises(Failure, match="mallory" if password else "no login") as failed:
        await attempt.digest(f"{registry.address}/acme/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "registry_denied")
    assert "wrong" not in failed.value.sentence
    with pytest.raises(Failure, match=registry.address):
        await attempt.check(registry.address)


async def test_an_attempt_knows_the_logins_of_the_hosts_that_are_named(
    having: Having, registry: Registry
) -> None:
    hub = RegistryLogin(host="index.docker.io", username="ada", password="x")
    own = login_at(registry.address, registry)
    attempt = having(hub, own)

    assert await attempt.logins(["busybox", f"{registry.address}/a/b:c", "ghcr.io/a/b"]) == [hub, own]
    assert await attempt.logins(["ghcr.io/a/b"]) == []
    assert await attempt.check(registry.address) == registry.username
    with pytest.raises(Failure, match="is no name of an image") as failed:
        await attempt.logins(["Not/A/Name//"])
    assert failed.value.fault is Fault.USER


async def test_another_host_never_hears_who_asks(
    attempt: AttemptRegistry, host: str, faults: Faults, seeds: Seeds, name: str
) -> None:
    seeds.image(f"{name}/shop", "v1", "one")
    async with Faults(faults.upstream).serving() as elsewhere:
        path = f"/v2/{name}/shop/manifests/v1"
        await attempt.digest(f"{host}/{name}/shop:v1")  # by now it knows that a password is wanted
        location = {"Location": f"http://127.0.0.1:{elsewhere.port}{path}"}
        faults.fail("HEAD", path, status=307, headers=location)

        with pytest.raises(Failure) as failed:
            await attempt.digest(f"{host}/{name}/shop:v1")

        assert failed.value.reason == "registry_denied"
        assert faults.asked[-1].headers["authorization"]
        assert [one.method for one in elsewhere.asked] == ["HEAD"]
        assert "authorization" not in elsewhere.asked[0].headers


@pytest.mark.parametrize(
    "asked",
    [
        'Basic realm="r", Bearer realm="{realm}",service="registry.test"',
        'Negotiate, Bearer realm="{realm}",service="registry.test", Basic realm="r"',
    ],
)
async def test_of_several_challenges_the_one_that_can_be_answered_is(
    having: Having, tokens: TokenServer, name: str, asked: str
) -> None:
    async with TokenRegistry(tokens) as registry, Faults(registry.port).serving() as faults:
        host = f"localhost:{faults.port}"
        attempt = having(RegistryLogin(host=host, username="ada", password="her-password"))
        header = {"WWW-Authenticate": asked.format(realm=tokens.realm)}
        faults.fail("HEAD", "/manifests/v1", status=401, headers=header)

        assert await attempt.digest(f"{host}/{name}/shop:v1") is None
        assert tokens.scopes == [f"repository:{name}/shop:pull"]


@pytest.mark.parametrize(
    ("realm", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "no place with TLS"),
        ("http://127.0.0.1.evil.example/token", "no place with TLS"),
        ("file:///etc/passwd", "no place with TLS"),
        ("https://[bad/token", "no place with TLS"),
        ("https://x/" + "a" * 70_000, "no place with TLS"),
    ],
)
async def test_a_login_goes_nowhere_else_whatever_realm_a_registry_names(
    attempt: AttemptRegistry, host: str, faults: Faults, realm: str, said: str
) -> None:
    faults.fail("HEAD", "/manifests/v1", status=401, headers={"WWW-Authenticate": f'Bearer realm="{realm}"'})

    with pytest.raises(Failure, match=said) as failed:
        await attempt.digest(f"{host}/acme/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "registry_denied")
    assert "authorization" not in faults.asked[-1].headers


async def test_a_realm_elsewhere_is_told_nothing_of_somebody_without_a_login(
    having: Having, host: str, faults: Faults
) -> None:
    async with Faults(faults.upstream).serving() as elsewhere:
        realm = f'Bearer realm="http://127.0.0.1:{elsewhere.port}/token"'
        faults.fail("HEAD", "/manifests/v1", status=401, headers={"WWW-Authenticate": realm})
        other = having(RegistryLogin(host="ghcr.io", username="ada", password="x"))

        with pytest.raises(Failure):
            await other.digest(f"{host}/acme/shop:v1")

        assert [(one.method, one.path.partition("?")[0]) for one in elsewhere.asked] == [("GET", "/token")]
        assert "authorization" not in elsewhere.asked[0].headers


@pytest.mark.parametrize("location", ["https://\x7f/", "http://localhost:99999999/", "ftp://localhost/"])
async def test_a_redirect_to_nowhere_is_a_registry_that_does_not_answer(
    attempt: AttemptRegistry, host: str, faults: Faults, location: str
) -> None:
    faults.fail(
        "HEAD",
        "/manifests/v1",
        times=3 if location.startswith("h") else 1,
        status=307,
        headers={"Location": location},
    )

    with pytest.raises(Failure) as failed:
        await attempt.digest(f"{host}/acme/shop:v1")

    assert failed.value.reason in ("registry_unreachable", "registry_refused")


@pytest.mark.parametrize("host", ["localhost:99999", f"{'a' * 70}.localhost", "a..localhost"])
async def test_a_name_that_no_machine_can_have_is_a_registry_that_does_not_answer(
    having: Having, host: str
) -> None:
    with pytest.raises(Failure) as failed:
        await having().digest(f"{host}/acme/shop:v1")

    assert failed.value.reason == "registry_unreachable"


async def test_a_registry_without_tls_elsewhere_is_told_from_one_that_does_not_answer(
    having: Having, registry: Registry
) -> None:
    elsewhere = f"0.0.0.0:{registry.address.rpartition(':')[2]}"  # a way to here that does not look like it

    with pytest.raises(Failure, match=f"{elsewhere} speaks plain HTTP") as failed:
        await having().digest(f"{elsewhere}/acme/shop:v1")

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "registry_untrusted")


async def test_a_tag_that_may_not_be_moved_is_final_unless_it_is_right_already(
    attempt: AttemptRegistry, host: str, faults: Faults, seeds: Seeds, name: str
) -> None:
    other = seeds.image(f"{name}/shop", "v1", "other")
    digest = seeds.image(f"{name}/shop", "v1", "one")
    faults.fail("PUT", "/manifests/v1", times=2, status=400, body=REFUSED)

    await attempt.tag(f"{host}/{name}/shop", digest, ["v1"])
    with pytest.raises(Failure, match=r"shop:v1 is another image already.* \.blacktree\.yml") as failed:
        await attempt.tag(f"{host}/{name}/shop", other, ["v1"])

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "tag_immutable")


async def test_a_certificate_is_trusted_by_dockers_folder_or_by_the_machine(
    having: Having, ecr_registry: EcrRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = ecr_registry.address
    login = login_at(host, ecr_registry)

    assert await having(login, certificates=CERTIFICATES).check(host) == "AWS"
    with pytest.raises(Failure, match=f"/etc/docker/certs.d/{host}/ca.crt") as failed:
        await having(login).check(host)
    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "registry_untrusted")

    (tmp_path / "machine.pem").write_bytes(ecr_registry.authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "machine.pem"))
    assert await having(login).check(host) == "AWS"

    (tmp_path / host).mkdir()
    (tmp_path / host / "ca.crt").write_text("no certificate")
    with pytest.raises(Failure, match=r"ca\.crt cannot be read"):
        await having(login).check(host)


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    tokens = TokenServer("ada", "her-password")
    config = uvicorn.Config(tokens.app, port=tokens.port, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield tokens
    server.should_exit = True
    await serving


async def test_a_registry_that_wants_tokens_gets_one_for_each_scope(
    having: Having, tokens: TokenServer, name: str
) -> None:
    async with TokenRegistry(tokens) as registry:
        image = f"{registry.address}/{name}/shop"
        pull, push = f"repository:{name}/shop:pull", f"repository:{name}/shop:pull,push"

        attempt = having(RegistryLogin(host=registry.address, username="ada", password="her-password"))
        assert await attempt.check(registry.address) == "ada"
        assert [await attempt.digest(f"{image}:{tag}") for tag in ("v1", "v2")] == [None, None]
        with pytest.raises(Failure, match="does not have"):  # a token that may push was taken
            await attempt.tag(image, f"sha256:{'0' * 64}", ["main"])
        assert tokens.scopes == ["", pull, push]

        tokens.expires_in = 0.001
        by_identity = having(RegistryLogin(host=registry.address, username=IDENTITY_TOKEN, password=IDENTITY))
        assert [await by_identity.digest(f"{image}:{tag}") for tag in ("v1", "v2")] == [None, None]
        assert tokens.scopes[3:] == [pull, pull]

        wrong = having(RegistryLogin(host=registry.address, username="ada", password="wrong"))
        with pytest.raises(Failure, match="who are you") as failed:
            await wrong.digest(f"{image}:v1")
        assert failed.value.reason == "registry_denied"
