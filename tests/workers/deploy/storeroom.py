"""Images of services in a registry that asks for a password, made from the base image."""

from __future__ import annotations

import json

from tests.parts.engine import Engine
from tests.parts.registry import Registry
from workers.contract.messages import Credentials, RegistryLogin

# It keeps when it was first started, and what its password was, and shows both to its neighbours.
DATABASE = (
    "mkdir -p /data; [ -e /data/first ] || { date +%s%N > /data/first; echo $PASSWORD > /data/password; };"
    " echo the password is $PASSWORD; exec httpd -f -p 6000 -h /data"
)


class Storeroom:
    """Pushes images, which the engine then has to pull. `label` is what they are removed by."""

    def __init__(self, engine: Engine, registry: Registry, base: str, label: dict[str, str]) -> None:
        self._engine = engine
        self._registry = registry
        self._base = base
        self._label = label

    def image(self, path: str, script: str = DATABASE, *more: str) -> str:
        """Its name in the registry; the engine has it by no name."""
        name, _, tag = path.partition(":")
        repository = f"{self._registry.address}/{name}"
        made = self._engine.client.containers.create(self._base, labels=self._label)
        try:
            changes = [f"CMD {json.dumps(['sh', '-c', script])}", "EXPOSE 6000", *more]
            made.commit(repository, tag or "latest", changes=changes)
        finally:
            made.remove()
        auth = {"username": self._registry.username, "password": self._registry.password}
        told = self._engine.client.images.push(repository, tag or "latest", auth_config=auth)
        assert "errorDetail" not in told, told
        self._engine.client.images.remove(f"{repository}:{tag or 'latest'}")
        return f"{repository}:{tag or 'latest'}"

    def credentials(self, provided: dict[str, str], **generated: dict[str, str]) -> Credentials:
        """A login, the variables that services provide, and the secrets of each."""
        login = RegistryLogin(
            host=self._registry.address, username=self._registry.username, password=self._registry.password
        )
        return Credentials(registries=[login], services=generated, env=provided)
