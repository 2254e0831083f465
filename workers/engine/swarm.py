"""Docker Swarm through the engine's SDK."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import docker
from docker.auth import encode_header
from docker.errors import APIError, NotFound
from docker.types import SecretReference

from workers.contract.failure import user
from workers.contract.messages import RegistryLogin
from workers.engine import swarm_specs
from workers.engine.engine import PREFIX, prefixed
from workers.engine.making import named, sentence
from workers.engine.services import Service, ServiceSpec

T = TypeVar("T")

_PAUSE = 0.2  # seconds between two looks at what is to go away
_GONE = 60.0  # seconds that tasks get to be gone, beside their grace
_TRIES = 5  # at a change that another one came before
# Without IPVS in the kernel the routing mesh takes connections and leads them nowhere.
_IPVS = Path("/proc/net/ip_vs")
_SLOW = {"n": 2**14, "r": 8, "p": 1}  # scrypt: a weak secret is not to be guessed from its name


class Do(Protocol):
    """Runs `work` in a thread of the engine's."""

    async def __call__(
        self, work: Callable[[docker.DockerClient], T], *, patience: float = 0, finish: bool = False
    ) -> T: ...


class DockerSwarm:
    """The Swarm that an engine manages."""

    def __init__(self, do: Do, engine: str, mesh: Callable[[], bool] = _IPVS.exists) -> None:
        """`mesh` tells whether this machine has the routing mesh: a port that every node publishes."""
        self._do = do
        self._engine = engine
        self._mesh = mesh

    async def manager(self) -> bool:
        found = await self._do(lambda client: client.api.info())
        return bool((found.get("Swarm") or {}).get("ControlAvailable"))

    async def networks(self, spec: ServiceSpec) -> None:
        def make(client: docker.DockerClient) -> None:
            for name in (spec.network, *spec.networks):
                if not named(client, name):
                    # Attachable, for the release command.
                    client.api.create_network(
                        name, driver="overlay", attachable=True, labels=prefixed(spec.place)
                    )

        await self._do(make, finish=True)

    async def apply(self, spec: ServiceSpec, logins: Sequence[RegistryLogin]) -> None:
        await self.networks(spec)

        def change(client: docker.DockerClient) -> None:
            secrets = _kept_secrets(client.api, spec)
            wanted = swarm_specs.service(spec, secrets, self._engine, mesh=self._mesh())
            _change(client.api, wanted, _sign(spec.image, logins))

        try:
            await self._do(change, patience=len(spec.secrets), finish=True)
        except APIError as error:
            raise user("start_failed", f"The service cannot be made: {sentence(error)}") from None

    async def service(self, name: str) -> Service | None:
        def look(client: docker.DockerClient) -> Service | None:
            found = _found(client.api, name)
            return None if found is None else _service(client.api, found, _hosts(client.api))

        return await self._do(look)

    async def services(self, labels: Mapping[str, str]) -> list[Service]:
        wanted = {"label": [f"{name}={value}" for name, value in prefixed(labels).items()]}

        def look(client: docker.DockerClient) -> list[Service]:
            try:
                found = _all(client.api, wanted)
            except APIError as error:
                if error.status_code == 503:  # no manager, or no Swarm at all
                    return []
                raise
            hosts = _hosts(client.api) if found else {}
            return [_service(client.api, one, hosts) for one in found]

        return await self._do(look)

    async def back(self, name: str) -> None:
        def roll(client: docker.DockerClient) -> None:
            found = _found(client.api, name)
            if found is not None and found.get("PreviousSpec"):
                _post(client.api, f"/services/{found['ID']}/update", found["Spec"], _back_from(found), {})

        await self._do(roll, finish=True)

    async def tidy(self, name: str) -> None:
        await self._do(lambda client: _drop_secrets(client.api, name), finish=True)

    async def remove(self, name: str, networks: Iterable[str] = ()) -> None:
        await self._do(lambda client: _remove(client.api, name, networks), patience=_GONE, finish=True)


def _all(api: Any, wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.services(filters=wanted)
    return found


def _found(api: Any, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = api.inspect_service(name)
    except NotFound:
        return None
    return found


def _service(api: Any, found: Mapping[str, Any], hosts: Mapping[str, str]) -> Service:
    try:
        tasks = api.tasks(filters={"service": found["ID"]})
    except NotFound:
        tasks = []
    return swarm_specs.told(found, tasks, hosts)


def _hosts(api: Any) -> dict[str, str]:
    own = api.info()["Swarm"]["NodeID"]
    return {node["ID"]: node["Status"].get("Addr", "") for node in api.nodes() if node["ID"] != own}


def _change(api: Any, wanted: dict[str, Any], headers: dict[str, str]) -> None:
    """Make the service or change it, whatever others change meanwhile."""
    for attempt in range(_TRIES):
        found = _found(api, wanted["Name"])
        try:
            if found is None:
                _post(api, "/services/create", wanted, {}, headers)
            else:
                version = {"version": found["Version"]["Index"]}
                _post(api, f"/services/{found['ID']}/update", wanted, version, headers)
            return
        except APIError as error:
            # https://docs.docker.com/reference/api/engine/#tag/Service: the version avoids conflicting writes
            if "out of sequence" not in str(error) or attempt == _TRIES - 1:
                raise
            time.sleep(_PAUSE)


def _back_from(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "version": found["Version"]["Index"],
        "rollback": "previous",
        "registryAuthFrom": "previous-spec",
    }


def _post(
    api: Any,
    path: str,
    body: Mapping[str, Any],
    query: Mapping[str, Any],
    headers: Mapping[str, str],
) -> None:
    """What the SDK has no call for: a login of the attempt's own, and a rollback."""
    api._result(api._post_json(api._url(path), data=body, params=query, headers=headers))


def _sign(image: str, logins: Sequence[RegistryLogin]) -> dict[str, str]:
    """The header with the login that every node pulls `image` with."""
    for login in logins:
        if image.startswith(f"{login.host}/"):
            told = {"username": login.username, "password": login.password, "serveraddress": login.host}
            return {"X-Registry-Auth": encode_header(told).decode()}
    return {}


def _kept_secrets(api: Any, spec: ServiceSpec) -> list[SecretReference]:
    """Swarm's secrets of these values; one of the same content is used again. Swarm has no empty ones."""
    there = {row["Spec"]["Name"]: row["ID"] for row in _secrets(api, spec.name)}
    kept = []
    for name, value in sorted(spec.secrets.items()):
        if not value:
            continue
        known = _secret_name(spec.name, name, value)
        labels = {**prefixed(spec.place), PREFIX + "service": spec.name, PREFIX + "secret": name}
        if known not in there:
            there[known] = api.create_secret(known, value.encode(), labels)["ID"]
        kept.append(SecretReference(there[known], known, filename=name))
    return kept


def _secret_name(service: str, name: str, value: str) -> str:
    digest = hashlib.scrypt(value.encode(), salt=f"{service}\0{name}".encode(), dklen=16, **_SLOW)
    return f"blacktree-{digest.hex()}"


def _secrets(api: Any, service: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.secrets(filters={"label": [f"{PREFIX}service={service}"]})
    return found


def _drop_secrets(api: Any, service: str) -> None:
    found = _found(api, service) or {}
    specs = (found.get("Spec"), found.get("PreviousSpec"))
    used = {
        secret["SecretID"]
        for spec in specs
        if spec
        for secret in spec["TaskTemplate"]["ContainerSpec"].get("Secrets") or []
    }
    for row in _secrets(api, service):
        if row["ID"] not in used:
            with contextlib.suppress(APIError):  # a task that ends may have it still: the next change's
                api.remove_secret(row["ID"])


def _remove(api: Any, name: str, networks: Iterable[str]) -> None:
    found = _found(api, name)
    if found is not None:
        with contextlib.suppress(NotFound):
            api.remove_service(found["ID"])
        _until(lambda: all(task["ServiceID"] != found["ID"] for task in api.tasks()))
    _drop_secrets(api, name)
    targets = found["Spec"]["TaskTemplate"].get("Networks") or [] if found else []
    for shared in {*networks, *(target["Target"] for target in targets)}:
        _without_network(api, shared)
    _until(lambda: _without_network(api, name))


def _without_network(api: Any, network: str) -> bool:
    """Whether it is gone: one that others use is left to them."""
    try:
        api.remove_network(network)
    except NotFound:
        return True
    except APIError:
        return False
    return True


def _until(gone: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _GONE / 2
    while not gone() and time.monotonic() < deadline:
        time.sleep(_PAUSE)
