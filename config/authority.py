"""Whose word counts: the default branch's file decides, another commit's says how it is built and run.

What reaches an environment, what holds it, and what it is given come from the default branch alone, for
whoever may push a branch or a tag writes that commit's file. A stranger's says still less.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel

from config.errors import ConfigError
from config.hosts import Claimant, Rules, host_name
from config.processes import Process
from config.repository import FILE, PREVIEW, Environment, Image, Repository, Service

# A key that is in none of these is the default branch's.
STRANGERS = frozenset({"context", "dockerfile", "target", "args", "test", "paths"})
BUILT = STRANGERS | {"timeout", "platforms", "cache", "pull", "limits"}
RUN = frozenset(
    {
        "image",
        "port",
        "command",
        "env",
        "health",
        "limits",
        "stability",
        "release_command",
        "release_timeout",
        "replicas",
        "volumes",
        "user",
        "read_only",
        "restart",
        "grace",
        "drain",
        "headers",
        "ttl",
        "sleep",
        "processes",
    }
)
# What ends with its pull request is that one's to say; what stays is nobody's but the default branch's.
PREVIEWS = frozenset({"services"})
_HEARD = frozenset(Process.model_fields) - {"domain", "expose"}
GIVEN = frozenset(Image.model_fields) - BUILT  # what the default branch lets an image have
FETCHED = frozenset({"checkout"})

Part = TypeVar("Part", bound=BaseModel)


def governed(ruling: Repository, own: Repository) -> Repository:
    """What a commit is run as that is not the default branch's: `ruling` is that one's file.

    Its environments are those of `ruling`; its images are its own, and what environments that only `ruling`
    knows run.
    """
    serving = {
        service.image
        for name, place in ruling.environments.items()
        if name != PREVIEW
        for service in place.services.values()
    }
    images = {
        name: _taken(ruling.images.get(name, Image()), image, BUILT)
        for name, image in own.images.items()
        if name in ruling.images or name not in serving  # what is a registry's image there stays one
    }
    for name in serving & ruling.images.keys():
        images.setdefault(name, ruling.images[name])
    environments = {}
    for name, place in ruling.environments.items():
        runs = _runs(ruling, own, name)
        images.setdefault(runs, ruling.images.get(runs, Image()))
        if name in own.environments:
            meant = own.environments[name]
            named = {} if runs == own.image_of(meant) else {"image": runs}
            heard: dict[str, Any] = {"processes": _processes(ruling, own, name)}
            if name == PREVIEW:
                heard["services"] = {
                    key: service
                    for key, service in _services(place, meant).items()
                    if service == place.services.get(key) or not _is_given(ruling, service.image)
                }
            environments[name] = _taken(place, meant, _run(name)).model_copy(update=named | heard)
            for process in heard["processes"].values():
                _known(images, ruling, process)
            continue
        # An image that is left out is the first of them.
        named = {} if runs == next(iter(images)) else {"image": runs}
        environments[name] = place.model_copy(update=named)
        for process in place.processes.values():
            _known(images, ruling, process)
    kept = _taken(ruling, own, FETCHED)
    return kept.model_copy(update={"images": images, "environments": environments})


def _runs(ruling: Repository, own: Repository, name: str) -> str:
    """The image that an environment of `ruling` runs: the commit's choice, unless that is given something.

    Who reaches an environment gets what its own image is given, not what another's is.
    """
    rightful = ruling.image_of(ruling.environments[name])
    meant = own.image_of(own.environments[name]) if name in own.environments else rightful
    return rightful if _is_given(ruling, meant) else meant


def _is_given(ruling: Repository, image: str) -> bool:
    """Whether the default branch lets an image have something."""
    known = ruling.images.get(image)
    return known is not None and any(getattr(known, key) for key in GIVEN)


def _processes(ruling: Repository, own: Repository, name: str) -> dict[str, Process]:
    """A commit's processes; host names, and images that are given something, are the default branch's."""
    theirs = ruling.environments[name].processes
    heard = {}
    for key, process in own.environments[name].processes.items():
        there = theirs.get(key, Process())
        image = there.image if process.image and _is_given(ruling, process.image) else process.image
        heard[key] = process.model_copy(
            update={"domain": there.domain, "expose": there.expose, "image": image}
        )
    return heard


def _services(ruling: Environment, own: Environment) -> dict[str, Service]:
    """A preview's services; what one is filled from another environment, and who has a port to the world, is
    the default branch's to say.

    All of the one that is filled is: what runs in it, and with what, has the data before it is scrubbed.
    """
    given = {name: service for name, service in ruling.services.items() if _is_filled(service)}
    heard = {
        name: service.model_copy(
            update={"expose": theirs.expose if (theirs := ruling.services.get(name)) else None}
            | ({"seed": None} if _is_filled(service) else {})
        )
        for name, service in own.services.items()
    }
    return heard | {name: given[name] for name in given if name in own.services}


def _is_filled(service: Service) -> bool:
    return service.seed is not None and service.seed.source is not None


def _known(images: dict[str, Image], ruling: Repository, process: Process) -> None:
    """The image of a process is one of those, though only the default branch has it."""
    if process.image is not None:
        images.setdefault(process.image, ruling.images.get(process.image, Image()))


def strangers(base: Repository, head: Repository) -> Repository:
    """What an approved fork's commit is run as: how its images are built, where `base` has them too.

    Its previews' services have no port to the world: a stranger's code writes what is in them.
    """
    images = {
        name: _taken(image, head.images[name], STRANGERS) if name in head.images else image
        for name, image in base.images.items()
    }
    environments = {
        name: place.model_copy(
            update={
                "services": {
                    key: one.model_copy(update={"expose": None}) for key, one in place.services.items()
                }
            }
        )
        for name, place in base.environments.items()
    }
    return base.model_copy(update={"images": images, "environments": environments})


def unheard(ruling: Repository, own: Repository) -> list[str]:
    """The keys of a commit's file that do not count, since the default branch's says otherwise."""
    return [
        *_differing("", ruling, own, FETCHED | {"images", "environments"}),
        *(
            key
            for name, image in own.images.items()
            for key in _differing(f"images.{name}.", ruling.images.get(name, Image()), image, BUILT)
        ),
        *(
            key
            for name, place in own.environments.items()
            for key in _of_environment(name, ruling.environments.get(name), place)
        ),
        *(
            f"environments.{name}.image"
            for name, place in own.environments.items()
            if name in ruling.environments and _runs(ruling, own, name) != own.image_of(place)
        ),
        *(
            f"environments.{name}.processes.{key}.image"
            for name, place in own.environments.items()
            if name in ruling.environments
            for key, heard in _processes(ruling, own, name).items()
            if heard.image != place.processes[key].image
        ),
        *(
            f"environments.{name}.services.{key}"
            for name, place in own.environments.items()
            if name == PREVIEW
            for key in _unheard_services(ruling.environments.get(name), place)
        ),
    ]


def _unheard_services(ruling: Environment | None, own: Environment) -> Iterator[str]:
    if ruling is None:
        return
    heard = _services(ruling, own)
    for name, service in own.services.items():
        if heard[name] != service.model_copy(update={"expose": heard[name].expose}):
            yield name
        elif "expose" in service.model_fields_set and heard[name].expose != service.expose:
            yield f"{name}.expose"


def misnamed(config: Repository, repository: str, rules: Rules) -> list[str]:
    """The host names in a file that its repository, OWNER/NAME, must not have; what follows from a branch
    is known only when it is deployed."""
    claimants = {
        name: Claimant(repository, "pr-1" if name == PREVIEW else name) for name in config.environments
    }
    found = []
    for name, key, domain in _domains(config):
        claimant, where = claimants[name], f"{FILE}: environments.{name}.{key}"
        if "{branch}" in domain:
            continue
        try:
            host = host_name(domain, claimant.parts)
        except ConfigError as error:
            found.append(f"{where}: {error}")
            continue
        if why := rules.refusal(host, claimant, claimants.values()):
            found.append(f"{where}: {why}")
    return found


def _domains(config: Repository) -> Iterator[tuple[str, str, str]]:
    """Each host name in a file: its environment, the key that has it, and itself."""
    for name, environment in config.environments.items():
        if environment.domain is not None:
            yield name, "domain", environment.domain
        for process, said in environment.processes.items():
            if said.domain is not None:
                yield name, f"processes.{process}.domain", said.domain


def _of_environment(name: str, ruling: Environment | None, own: Environment) -> Iterator[str]:
    if ruling is None:
        yield f"environments.{name}"
    else:
        yield from _differing(f"environments.{name}.", ruling, own, _run(name))
        for key, process in own.processes.items():
            there = ruling.processes.get(key, Process())
            yield from _differing(f"environments.{name}.processes.{key}.", there, process, _HEARD)


def _run(name: str) -> frozenset[str]:
    """The keys of an environment that a commit's own file decides."""
    return RUN | PREVIEWS if name == PREVIEW else RUN


def _differing(where: str, ruling: BaseModel, own: BaseModel, free: frozenset[str]) -> Iterator[str]:
    for key, field in type(own).model_fields.items():
        said = key in own.model_fields_set and key not in free
        if said and getattr(own, key) != getattr(ruling, key):
            yield where + (field.alias or key)


def _taken(ruling: Part, own: Part, keys: frozenset[str]) -> Part:
    """`ruling`, with these keys from `own`."""
    return ruling.model_copy(update={key: getattr(own, key) for key in keys})
