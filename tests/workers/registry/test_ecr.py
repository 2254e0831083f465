"""ECR: its API by moto, its registry by one that speaks TLS and takes the very password of the token."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.parts.aws import REGION, Aws, EcrRegistry, expiring
from tests.parts.engine import Engine
from tests.parts.faults import Faults
from tests.workers.registry.conftest import HURRIED
from workers.contract.failure import Failure
from workers.contract.messages import Credentials, Fault
from workers.doctor import checks
from workers.registry import ecr
from workers.registry.ecr import Ecr
from workers.registry.push import move, push
from workers.registry.registries import AttemptRegistry, Registries
from workers.tools import Tools

OWN = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"}


@pytest.fixture(autouse=True)
def api(aws: Aws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 finds moto, and nothing of this machine's own."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", aws.url)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


@pytest.fixture
async def calls(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faults]:
    """What moto is asked."""
    async with Faults(aws.port).serving() as calls:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECR", f"http://127.0.0.1:{calls.port}")
        yield calls


def named(calls: Faults) -> list[str]:
    return [one.headers["x-amz-target"].rpartition(".")[2] for one in calls.asked]


def attempt(stranger: bool = False, **given: Any) -> AttemptRegistry:
    return Registries(Settings(**{**OWN, **given}), HURRIED).of(Credentials(), stranger=stranger)


async def test_an_image_is_pushed_to_ecr_with_nothing_but_a_role(
    aws: Aws, calls: Faults, ecr_registry: EcrRegistry, tools: Tools, engine: Engine, base: str, name: str
) -> None:
    image, lines = f"{ecr_registry.address}/{name}/shop", list[str]()
    registry = attempt(ecr_create=True, ecr_immutable=True, ecr_untagged_days=3)
    engine.client.images.get(base).tag(image, "abc")
    try:
        digest = await push(tools.builder, registry, f"{image}:abc", lines.append)
    finally:
        engine.client.images.remove(f"{image}:abc")
    await move(registry, image, digest, ["main"], lines.append)

    assert [ecr_registry.digest(f"{name}/shop", tag) for tag in ("abc", "main")] == [digest, digest]
    api = aws.client("ecr")
    [made] = api.describe_repositories(repositoryNames=[f"{name}/shop"])["repositories"]
    assert made["imageTagMutability"] == "IMMUTABLE"
    assert made["imageScanningConfiguration"] == {"scanOnPush": True}
    policy = json.loads(api.get_lifecycle_policy(repositoryName=f"{name}/shop")["lifecyclePolicyText"])
    assert policy == ecr.lifecycle(3)
    assert policy["rules"][0]["selection"]["countNumber"] == 3
    await registry.prepare(image)
    making = ["DescribeRepositories", "CreateRepository", "PutLifecyclePolicy"]
    assert [call for call in named(calls) if call != "GetAuthorizationToken"] == making


async def test_a_token_is_asked_for_once_by_many_and_anew_long_before_its_end(
    calls: Faults, account: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    calls.replaced = expiring(int((now + timedelta(hours=12)).timestamp()))
    there = Ecr(Settings(**OWN), clock=lambda: now)
    near, far = (
        ecr.account_of(f"{who}.dkr.ecr.{region}.amazonaws.com")
        for who, region in ((account, REGION), ("999999999999", "us-west-2"))
    )
    assert near is not None
    assert far is not None

    logins = await asyncio.gather(*(there.login(near) for _ in range(5)))
    assert {login.password for login in logins} == {f"{account}-auth-token"}
    assert {(login.host, login.username) for login in logins} == {(near.host, "AWS")}
    assert len(calls.asked) == 1

    assert (await there.login(far)).host == far.host
    assert "/us-west-2/ecr/" in calls.asked[1].headers["authorization"]

    now += timedelta(hours=9, minutes=59)
    await there.login(near)
    assert len(calls.asked) == 2
    now += timedelta(minutes=2)
    await there.login(near)
    assert len(calls.asked) == 3


@pytest.mark.usefixtures("calls")
async def test_a_token_that_is_fetched_is_told_to_the_attempt_whose_log_masks_it(account: str) -> None:
    masked: list[str] = []
    registry = Registries(Settings(**OWN), HURRIED).of(Credentials(), masked.append)
    [login] = await registry.logins([f"{account}.dkr.ecr.{REGION}.amazonaws.com/shop:1"])
    assert masked == [login.password] == [f"{account}-auth-token"]


async def test_who_gave_up_waiting_for_a_token_keeps_nobody_from_it(calls: Faults, account: str) -> None:
    there = Ecr(Settings(**OWN))
    where = ecr.account_of(f"{account}.dkr.ecr.{REGION}.amazonaws.com")
    assert where is not None
    calls.gated = "POST"
    calls.gate.clear()
    first, second = (asyncio.create_task(there.login(where)) for _ in range(2))
    await calls.at_gate.wait()
    first.cancel()
    calls.gate.set()

    assert (await second).username == "AWS"
    assert first.cancelled()


async def test_a_stranger_has_nothing_of_the_machines(calls: Faults, account: str) -> None:
    image = f"{account}.dkr.ecr.{REGION}.amazonaws.com/acme/shop"
    registry = attempt(stranger=True, ecr_create=True)

    assert await registry.logins([image]) == []
    await registry.prepare(image)
    assert calls.asked == []


@pytest.fixture
def somebody(aws: Aws) -> Iterator[dict[str, str]]:
    """Keys of a user whom nothing is allowed, while that counts."""
    iam = aws.client("iam")
    name = f"somebody-{secrets.token_hex(4)}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    aws.check_permissions(True)
    yield {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
    aws.check_permissions(False)


@pytest.mark.parametrize(
    ("given", "reason", "todo"),
    [
        ("somebody", "registry_denied", "GetAuthorizationToken"),
        ("unknown", "aws_credentials", "BLACKTREE_AWS_PROFILE"),
        ("nobody", "aws_credentials", "Give the machine a role"),
        ("profile", "aws_credentials", "nowhere"),
    ],
)
async def test_what_aws_refuses_is_said_with_what_to_set(
    somebody: dict[str, str], account: str, given: str, reason: str, todo: str
) -> None:
    none: dict[str, Any] = {"aws_access_key_id": "", "aws_secret_access_key": None}
    settings: dict[str, Any] = {
        "somebody": somebody,
        "unknown": OWN,
        "nobody": none,
        "profile": {**none, "aws_profile": "nowhere"},
    }[given]

    with pytest.raises(Failure, match=todo) as failed:
        await attempt(**settings).logins([f"{account}.dkr.ecr.{REGION}.amazonaws.com/acme/shop"])

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, reason), failed.value.sentence
    assert account in failed.value.sentence or reason == "aws_credentials"


async def test_a_repository_that_may_not_be_made_is_asked_for(account: str) -> None:
    with pytest.raises(Failure, match="BLACKTREE_ECR_CREATE=true") as failed:
        await attempt().prepare(f"{account}.dkr.ecr.{REGION}.amazonaws.com/acme/missing")

    assert (failed.value.fault, failed.value.reason) == (Fault.FINAL, "repository_missing")


async def test_an_api_that_does_not_answer_is_worth_another_attempt(calls: Faults, account: str) -> None:
    calls.fail("POST", "/", times=3, status=503)

    with pytest.raises(Failure, match=REGION) as failed:
        await attempt().logins([f"{account}.dkr.ecr.{REGION}.amazonaws.com/acme/shop"])

    assert (failed.value.fault, failed.value.reason) == (Fault.OURS, "registry_unreachable")


async def test_doctor_proves_each_registry_and_says_what_to_do(
    ecr_registry: EcrRegistry, tmp_path: Path
) -> None:
    settings = Settings(
        data_dir=tmp_path, registry=f"{ecr_registry.address}/acme", push_registries="localhost:1/acme", **OWN
    )
    said = [check async for check in checks(settings) if check.part == "registry"]

    assert [(check.ok, check.found) for check in said[:1]] == [(True, f"{ecr_registry.address} as AWS")]
    assert [(check.ok, check.todo) for check in said[1:]] == [
        (
            False,
            "correct what BLACKTREE_REGISTRY_AUTHS and BLACKTREE_PUSH_REGISTRIES have for localhost:1",
        )
    ]
