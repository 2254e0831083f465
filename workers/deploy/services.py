"""An environment's services: there and healthy before anything of a release starts.

A service is one container on the environment's own network. It is left alone while its own settings are the
same, whatever is deployed. Changed, the new container takes the place of the old one, which has the same
data: so that one is stopped first, and starts again if the new one is not healthy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from workers.attempt import Attempt
from workers.contract.failure import Failure, user
from workers.contract.messages import ContainerState, DeploySpec, ServiceState, Step
from workers.contract.services import Services, ServiceSpec
from workers.deploy import names, networks, service_image, service_news, source
from workers.deploy.service_health import healthy
from workers.engine.engine import PREFIX, Container, ContainerSpec, EngineDown, Image, prefixed
from workers.tools import Tools

PLACE, SERVICE, SETTINGS, PINNED = (PREFIX + name for name in ("place", "service", "settings", "pinned"))
_TOLD = {"name", "running", "restarts", "exit_code", "out_of_memory", "health", "last_lines", "address"}
_GRACE = 2.0  # seconds that one which was never healthy gets to end


async def stand(attempt: Attempt, spec: DeploySpec, tools: Tools, network: str) -> list[ServiceSpec]:
    """Have every service be there; those that are to be filled. Raises Failure."""
    services = spec.services
    if services is None:
        return []
    async with attempt.step(Step.SERVICES):
        for one in services.wanted:
            await source.begun_anew(attempt, services, one, tools)
        empty = [
            one
            for one in services.wanted
            if await Standing(attempt, spec, services, one, tools, network).stand()
        ]
        await _remove_others(attempt, services, tools)
    return [one for one in services.wanted if (one.seed or one.source) and (one in empty or not one.seeded)]


async def reached(spec: DeploySpec, tools: Tools) -> dict[str, list[str]]:
    """Where each service is reached from outside that is to be; one that stayed as it was may be nowhere."""
    services = spec.services
    wanted = {one.name for one in services.wanted if one.port} if services else set()
    found: dict[str, list[str]] = {}
    if services is not None and wanted:
        for container in await tools.engine.containers(place(tools.worker, services.place)):
            name = container.labels.get(SERVICE, "")
            if name in wanted and container.running and container.address:
                found.setdefault(name, []).append(container.address)
    return found


def possible(spec: DeploySpec) -> None:
    """Pure: raises Failure where the release would not reach its services, each by its name.

    The file of a commit names its processes, another one the services: each fits in itself.
    """
    if spec.services is None or not spec.services.wanted:
        return
    source.possible(spec.services)
    reached = {name for one in spec.processes for name in (one.name, f"{spec.environment}-{one.name}")}
    if both := sorted(reached & {one.name for one in spec.services.wanted}):
        raise user(
            "service_name_taken",
            f"{both[0]} is the name of a service, and one that a process is reached by: name the process"
            " otherwise in .blacktree.yml",
        )
    if spec.target == "swarm" or spec.privileges.host_network:
        what = "target: swarm" if spec.target == "swarm" else "host_network"
        raise user(
            "services_unreachable",
            f"With {what} nothing reaches the environment's services: leave out one of the two in the default"
            " branch's .blacktree.yml",
        )


class Standing:
    """One service, made to stand."""

    def __init__(
        self,
        attempt: Attempt,
        spec: DeploySpec,
        services: Services,
        one: ServiceSpec,
        tools: Tools,
        network: str,
    ) -> None:
        self._attempt = attempt
        self._spec = spec
        self._services = services
        self._one = one
        self._tools = tools
        self._network = network
        self._made: list[str] = []  # volumes

    async def stand(self) -> bool:
        """Whether it starts without any data."""
        labels = place(self._tools.worker, self._services.place) | {"service": self._one.name}
        found = await self._tools.engine.containers(labels)
        current = chosen(found, settings(self._one), stay=self._services.stay)
        others = sorted((one for one in found if one is not current), key=lambda one: not one.running)
        if current is None:
            return await self._replaced(others)
        self._say("runs, and is left alone" if current.running else "starts again")
        image = await self._tools.engine.image(self._one.pinned) if self._one.pinned else None
        try:
            await self._joined(current, self._network)
            if not current.running:
                await self._tools.engine.again(current.id)
            await self._ready(current, image, new=False)
        except BaseException:
            if others:  # it was to take their place, and its attempt was killed
                await self._undo(current, others)
            raise
        await self._remove(others)
        return False

    async def moved(self, before: str) -> None:
        """It runs the image that it is pinned to, in the place of the one `before`, or that one again."""
        labels = place(self._tools.worker, self._services.place) | {"service": self._one.name}
        found = sorted(await self._tools.engine.containers(labels), key=lambda one: not one.running)
        begun = [one for one in found if one.labels.get(PINNED) == self._one.pinned]
        others = [one for one in found if one not in begun]
        try:
            if begun and not others:  # an attempt was killed when all was done
                await self.stand()
                return
            await self._remove(begun)  # half of an attempt that was killed
            await self._replaced(others, "its image changed")
        except BaseException:
            await service_news.kept(self._attempt, self._tools, self._one.name, image=before)
            raise

    async def _replaced(self, others: Sequence[Container], because: str = "its settings changed") -> bool:
        """A new container with these settings, in the place of the `others`."""
        image, pinned = await service_image.pulled(
            self._attempt, self._services, self._one, self._tools, self._spec.instance
        )
        owned = prefixed(place(self._tools.worker, self._services.place))
        current: Container | None = None
        try:
            self._made = await self._tools.engine.make_volumes(self._one.volumes, owned)
            fresh = len(self._made) == len(self._one.volumes)
            await service_news.kept(self._attempt, self._tools, self._one.name, image=pinned, fresh=fresh)
            await self._aside(others, because)
            current = await self._tools.engine.start(self._container(pinned))
            for network in sorted({name for other in others for name in other.networks}):
                await self._joined(current, network)  # the release that serves may reach it there
            self._say(f"starts as {current.name}, from {pinned}")
            await self._ready(current, image, new=True)
        except BaseException:
            await self._undo(current, others)
            raise
        await self._remove(others)
        return fresh

    async def _ready(self, container: Container, image: Image | None, *, new: bool) -> None:
        await healthy(self._attempt, self._one, container, image, self._tools, new=new)
        await self._tools.engine.keep(container.id, "unless-stopped")

    async def _aside(self, others: Sequence[Container], because: str) -> None:
        for other in others:
            self._say(f"{because}: {other.name} is stopped for the new one")
            await self._tools.engine.keep(other.id, "no")  # an engine that starts anew would start it
            await self._tools.engine.stop(other.id, self._one.grace)

    async def _undo(self, current: Container | None, others: Sequence[Container]) -> None:
        """What was there before is there again, and nothing else."""
        try:
            if current is not None:
                await self._tools.engine.remove(current.id, _GRACE)
            for volume in self._made:
                await self._tools.engine.remove_volume(volume)
            for other in others[:1]:
                await self._tools.engine.again(other.id)
                await self._tools.engine.keep(other.id, "unless-stopped")
                self._say(f"{other.name} serves again")
        except (EngineDown, Failure) as error:
            self._attempt.log.line(f"{self._one.name}: not everything could be undone yet: {error}")

    async def _remove(self, others: Sequence[Container]) -> None:
        for other in others:
            await self._tools.engine.remove(other.id, self._one.grace)

    async def _joined(self, container: Container, network: str) -> None:
        """A release that needs more room has another network, which the service is on too."""
        room, worker = names.room(self._spec), self._tools.worker
        await self._tools.engine.join(container.id, network, self._one.name, room, worker)

    def _container(self, image: str) -> ContainerSpec:
        one, generated = self._one, self._attempt.credentials.services.get(self._one.name, {})
        told = place(self._tools.worker, self._services.place) | {
            "instance": self._spec.instance,
            "service": one.name,
            "settings": settings(one),
            "pinned": image,
            "grace": f"{one.grace:g}",
            # Their values are masked wherever the container's output is shown.
            "secrets": ",".join(sorted(generated)),
        }
        return ContainerSpec(
            name=names.container(self._spec, f"-{one.name}"),
            image=image,
            command=one.command,
            env={**one.env, **generated},
            limits=one.limits,
            port=one.port,
            address=self._tools.address,
            network=self._network,
            room=names.room(self._spec),
            labels=prefixed(told),
            alias=one.name,
            volumes=one.volumes,
            user=one.user,
            healthcheck=one.healthcheck,
        )

    def _say(self, text: str) -> None:
        self._attempt.log.line(f"{self._one.name}: {text}")


def place(worker: str, whose: str) -> dict[str, str]:
    """What all of an environment's services and their volumes are found by: labels, without their prefix."""
    return {"worker": worker, "place": whose}


def settings(one: ServiceSpec) -> str:
    """Pure: what a service is started with, in short; a key that is left out later is as if it never was."""
    told = one.model_dump(
        mode="json", exclude_defaults=True, exclude={"pinned", "timeout", "seed", "seeded", "source"}
    )
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def chosen(found: Sequence[Container], wanted: str, *, stay: bool) -> Container | None:
    """Pure: the container of a service that goes on: with these settings, or any if they are to `stay`."""
    fit = [one for one in found if stay or one.labels.get(SETTINGS) == wanted]
    return max(fit, key=lambda one: one.running, default=None)


async def _remove_others(attempt: Attempt, services: Services, tools: Tools) -> None:
    """Services that neither this release nor the one that serves has; their volumes stay."""
    if services.stay:
        return
    known = {*services.needed, *(one.name for one in services.wanted)}
    for container in await tools.engine.containers(place(tools.worker, services.place)):
        name = container.labels.get(SERVICE, "")
        if name not in known:
            attempt.log.line(f"{name}: no file names it any more: {container.name} is removed")
            await tools.engine.remove(container.id, names.grace(container.labels))
            await service_news.kept(attempt, tools, name, gone=True)


async def stop(attempt: Attempt, whose: str, tools: Tools, *, volumes: bool) -> bool:
    """End an environment's services, which keep their containers unless their `volumes` go too.

    Whether there were any.
    """
    labels = place(tools.worker, whose)
    found = await tools.engine.containers(labels)
    for container in found:
        grace = names.grace(container.labels)
        if volumes:
            await tools.engine.remove(container.id, grace)
        elif container.running:
            await tools.engine.keep(container.id, "no")
            await tools.engine.stop(container.id, grace)
        attempt.log.line(f"{container.name} is {'removed' if volumes else 'stopped'}")
    for volume in await tools.engine.volumes(labels) if volumes else ():
        gone = await tools.engine.remove_volume(volume)
        attempt.log.line(f"volume {volume} {'is removed' if gone else 'is in use, and stays'}")
    await networks.sweep(tools.worker, tools.engine)
    return bool(found)


def state(container: Container, told: ContainerState) -> ServiceState:
    """Pure: what is told of a service's container, from what is told of any."""
    return ServiceState(
        place=container.labels.get(PLACE, ""),
        service=container.labels.get(SERVICE, ""),
        **told.model_dump(include=_TOLD),
    )
