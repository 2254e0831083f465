"""Real registries, seen through a proxy that can fail, and images that are put there without an engine."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config.settings import Settings
from tests.parts.aws import Aws, EcrRegistry, some_account
from tests.parts.faults import Faults
from tests.parts.registry import Registry
from workers.contract.messages import Credentials, RegistryLogin
from workers.registry.oci import MANIFESTS
from workers.registry.patience import Patience
from workers.registry.registries import AttemptRegistry, Registries

HURRIED = Patience(tries=3, first=0.01, longest=0.02, told=2)
INDEX, IMAGE = MANIFESTS[0], MANIFESTS[2]


class Seeds:
    """Puts images into a registry, as small as they can be."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def image(self, name: str, tag: str, what: str) -> str:
        """Its digest. Images with another `what` have others."""
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"what": what}}}
        blob = json.dumps(config).encode()
        digest = _sha256(blob)
        there = self._ask("POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
        self._ask("PUT", there, params={"digest": digest}, content=blob)
        described = {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": len(blob),
        }
        manifest = {"schemaVersion": 2, "mediaType": IMAGE, "config": described, "layers": []}
        return self._manifest(name, tag, manifest)

    def index(self, name: str, tag: str, *digests: str) -> str:
        """The digest of an image for several platforms."""
        children = [
            {
                "mediaType": IMAGE,
                "digest": digest,
                "size": len(self.registry.get(f"/v2/{name}/manifests/{digest}").content),
                "platform": {"os": "linux", "architecture": architecture},
            }
            for digest, architecture in zip(digests, ("amd64", "arm64"), strict=False)
        ]
        return self._manifest(name, tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": children})

    def _manifest(self, name: str, tag: str, manifest: dict[str, Any]) -> str:
        content = json.dumps(manifest).encode()
        headers = {"Content-Type": manifest["mediaType"]}
        self._ask("PUT", f"/v2/{name}/manifests/{tag}", content=content, headers=headers)
        return _sha256(content)

    def _ask(self, method: str, url: str, **more: Any) -> httpx2.Response:
        """`params` are added to those that the URL has."""
        whole = httpx2.URL(self.registry.url).join(url).copy_merge_params(more.pop("params", {}))
        login = (self.registry.username, self.registry.password)
        return httpx2.request(
            method, whole, auth=login, verify=self.registry.trust(), timeout=60, **more
        ).raise_for_status()


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def login_at(host: str, registry: Registry) -> RegistryLogin:
    return RegistryLogin(host=host, username=registry.username, password=registry.password)


@pytest.fixture
def seeds(registry: Registry) -> Seeds:
    return Seeds(registry)


@pytest.fixture
async def faults(registry: Registry) -> AsyncIterator[Faults]:
    async with Faults(int(registry.address.rpartition(":")[2])).serving() as faults:
        yield faults
    await asyncio.sleep(0)
    assert not faults.unspent


@pytest.fixture
def host(faults: Faults) -> str:
    """The registry's, with the faults before it."""
    return f"localhost:{faults.port}"


@pytest.fixture
def having(tmp_path: Path) -> Callable[..., AttemptRegistry]:
    """The registry of an attempt with those logins."""

    def having(*logins: RegistryLogin, certificates: Path = tmp_path) -> AttemptRegistry:
        registries = Registries(Settings(), HURRIED, certificates)
        return registries.of(Credentials(registries=list(logins)))

    return having


@pytest.fixture
def attempt(having: Callable[..., AttemptRegistry], host: str, registry: Registry) -> AttemptRegistry:
    """An attempt that may use the registry behind the faults."""
    return having(login_at(host, registry))


@pytest.fixture(scope="session")
def account() -> str:
    return some_account()


@pytest.fixture(scope="session")
def aws(account: str) -> Iterator[Aws]:
    with Aws(account) as part:
        yield part


@pytest.fixture(scope="session")
def ecr_registry(account: str) -> Iterator[EcrRegistry]:
    with EcrRegistry(account) as part:
        yield part
