"""Amazon ECR: tokens instead of passwords, and repositories that have to be made before a push."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigNotFound,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)

from config.settings import Settings
from workers.contract.failure import Failure, final, ours
from workers.contract.messages import RegistryLogin

if TYPE_CHECKING:
    from mypy_boto3_ecr import ECRClient

log = structlog.get_logger()
T = TypeVar("T")

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html and …/ecr-requests.html (dual stack)
_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr[.-]ecr(?P<fips>-fips)?\.(?P<region>[a-z]{2}[a-z0-9-]+-\d+)"
    r"\.(amazonaws\.com(\.cn)?|on\.aws|on\.amazonwebservices\.com\.cn)"
)
_TIMEOUT = 45.0  # seconds for one call, with boto3's own tries
_CALL: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}
_RENEWED = timedelta(hours=2)  # before its end a token is replaced; of 12 hours, so says AWS
_PREPARED = timedelta(minutes=10)  # that a repository is known to be there

_NO_CREDENTIALS = (
    NoCredentialsError, PartialCredentialsError, ProfileNotFound, ConfigNotFound, TokenRetrievalError,
    CredentialRetrievalError,
)  # fmt: skip
_NOBODY = (
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "ExpiredToken",
    "ExpiredTokenException", "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken",
)  # fmt: skip
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "OptInRequired")
_CREDENTIALS = (
    "Give the machine a role, or set BLACKTREE_AWS_PROFILE, or BLACKTREE_AWS_ACCESS_KEY_ID and"
    " BLACKTREE_AWS_SECRET_ACCESS_KEY"
)


@dataclass(frozen=True)
class Account:
    """One account's registry in one region."""

    host: str
    account: str
    region: str
    fips: bool


@dataclass(frozen=True)
class _Token:
    login: RegistryLogin = field(repr=False)
    renewed: datetime  # when it is replaced


def account_of(host: str) -> Account | None:
    """The ECR registry of that host; None if it is none."""
    found = _HOST.fullmatch(host)
    return Account(host, found["account"], found["region"], bool(found["fips"])) if found else None


class Ecr:
    """The machine's access to ECR, in as many regions as it is asked for."""

    def __init__(self, settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: dict[tuple[str, bool], ECRClient] = {}
        self._tokens: dict[tuple[str, bool], _Token] = {}
        self._prepared: dict[str, datetime] = {}
        self._turns: defaultdict[tuple[str, bool], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def login(self, where: Account) -> RegistryLogin:
        """A login that lasts for two hours at least, if AWS gives such. Raises Failure.

        A region's token opens the registries of all accounts that let its owner in.
        """
        key = (where.region, where.fips)
        async with self._turns[key]:
            token = self._tokens.get(key)
            if token is None or self._clock() >= token.renewed:
                self._tokens[key] = token = await self._call(where, self._token)
        return token.login.model_copy(update={"host": where.host})

    async def prepare(self, where: Account, path: str) -> None:
        """Make the repository `path` if it is missing and that is wanted. Raises Failure."""
        name = f"{where.host}/{path}"
        async with self._turns[where.region, where.fips]:
            if self._clock() < self._prepared.get(name, datetime.min.replace(tzinfo=UTC)):
                return
            if not await self._call(where, lambda client: _exists(client, where, path)):
                if not self._settings.ecr_create:
                    raise final("repository_missing", _missing(where, path))
                await self._call(where, lambda client: _create(client, where, path, self._settings))
                log.info("ECR repository made", repository=name)
            self._prepared[name] = self._clock() + _PREPARED

    def _token(self, client: ECRClient) -> _Token:
        given = client.get_authorization_token()["authorizationData"][0]
        username, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
        left = given["expiresAt"] - self._clock()
        return _Token(
            RegistryLogin(host="", username=username, password=password),
            given["expiresAt"] - min(_RENEWED, left / 2),
        )

    async def _call(self, where: Account, call: Callable[[ECRClient], T]) -> T:
        """`call` in a thread; boto3's errors as Failures."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                return await asyncio.to_thread(lambda: call(self._client(where)))
        except (BotoCoreError, ClientError, TimeoutError) as error:
            self._clients.pop((where.region, where.fips), None)
            raise _failure(where, error) from None

    def _client(self, where: Account) -> ECRClient:
        """Blocks: boto3 reads files, and asks the machine for its role."""
        import boto3  # a fifth of a second, which only those with ECR pay
        from botocore.config import Config

        key = (where.region, where.fips)
        if key not in self._clients:
            secret = self._settings.aws_secret_access_key
            session = boto3.Session(
                profile_name=self._settings.aws_profile or None,
                aws_access_key_id=self._settings.aws_access_key_id or None,
                aws_secret_access_key=secret.get_secret_value() if secret else None,
                region_name=where.region,
            )
            config = Config(use_fips_endpoint=where.fips or None, **_CALL)
            self._clients[key] = session.client("ecr", config=config)
        return self._clients[key]


def _exists(client: ECRClient, where: Account, path: str) -> bool:
    """Whether it is there; who may not look is to find out by pushing."""
    try:
        client.describe_repositories(registryId=where.account, repositoryNames=[path])
    except client.exceptions.RepositoryNotFoundException:
        return False
    except client.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _DENIED:
            raise
    return True


def _create(client: ECRClient, where: Account, path: str, settings: Settings) -> None:
    try:
        client.create_repository(
            registryId=where.account,
            repositoryName=path,
            imageTagMutability="IMMUTABLE" if settings.ecr_immutable else "MUTABLE",
            imageScanningConfiguration={"scanOnPush": settings.ecr_scan},
        )
    except client.exceptions.RepositoryAlreadyExistsException:
        return  # another worker's
    if settings.ecr_untagged_days:
        try:
            client.put_lifecycle_policy(
                registryId=where.account,
                repositoryName=path,
                lifecyclePolicyText=json.dumps(lifecycle(settings.ecr_untagged_days)),
            )
        except client.exceptions.ClientError as error:
            log.warning("ECR keeps untagged images for ever", repository=path, error=str(error))


def lifecycle(days: int) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/lifecycle_policy_parameters.html"""
    selection = {
        "tagStatus": "untagged",
        "countType": "sinceImagePushed",
        "countUnit": "days",
        "countNumber": days,
    }
    rule = {
        "rulePriority": 1,
        "description": f"untagged images go after {days} days",
        "selection": selection,
        "action": {"type": "expire"},
    }
    return {"rules": [rule]}


def _missing(where: Account, path: str) -> str:
    return (
        f"ECR has no repository {path} in {where.region} of account {where.account}: create it,"
        " or set BLACKTREE_ECR_CREATE=true so that it is made"
    )


def _failure(where: Account, error: Exception) -> Failure:
    said = " ".join(str(error).split())
    if isinstance(error, _NO_CREDENTIALS):
        return final("aws_credentials", f"No AWS credentials for {where.host} ({said}). {_CREDENTIALS}")
    if isinstance(error, ParamValidationError):
        return final("registry_refused", f"{where.host} takes no such name: {said}")
    if isinstance(error, ClientError):
        return _refusal(where, error)
    if isinstance(error, TimeoutError):
        said = f"no answer in {_TIMEOUT:g} s"
    return ours("registry_unreachable", f"ECR did not answer in {where.region}: {said}")


def _refusal(where: Account, error: ClientError) -> Failure:
    answer, status = error.response["Error"], error.response["ResponseMetadata"].get("HTTPStatusCode", 500)
    # What stands before AWS may answer in a form of its own, which boto3 leaves in the message.
    said = f"{answer.get('Code', '')}: {answer.get('Message', '')}"
    if found := next((known for known in _NOBODY if known in said), None):
        return final("aws_credentials", f"AWS does not know these credentials ({found}). {_CREDENTIALS}")
    if any(known in said for known in _DENIED):
        todo = "Allow it in the role's IAM policy, or in the registry's for another account"
        return final("registry_denied", f"AWS refuses {where.host}: {said}. {todo}")
    if status < 500 and "Throttl" not in said and "TooMany" not in said:
        return final("registry_refused", f"ECR refuses in {where.region}: {said}")
    return ours("registry_unreachable", f"ECR did not do what it was asked in {where.region}: {said}")
