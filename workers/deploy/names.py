"""What Blacktree calls the containers, networks and services of environments, and finds them again by."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping

from config.processes import WEB
from workers.contract.messages import AttemptRef, DeploySpec
from workers.engine.engine import PREFIX, PULLED, Image, prefixed
from workers.engine.subnets import bits, is_small

JOB = PREFIX + "job"  # the label that tells whose doing it is
RELEASE = PREFIX + "release"
PROBE = PREFIX + "probe"
PROCESS = PREFIX + "process"
_ASIDE = ".aside"
_ALONE = ".alone"
_GRACE = 10.0  # seconds, of containers that are not labelled with their own


def place(worker: str, spec: DeploySpec) -> dict[str, str]:
    """Whose an environment's things are: labels, without their prefix."""
    return {
        "worker": worker,
        "instance": spec.instance,
        "repository": spec.repository,
        "environment": spec.environment,
    }


def job(worker: str, spec: DeploySpec, ref: AttemptRef) -> dict[str, str]:
    """What the containers of a job are found by, whichever attempt started them."""
    return {"worker": worker, "instance": spec.instance, "job": ref.job}


def labels(worker: str, spec: DeploySpec, ref: AttemptRef) -> dict[str, str]:
    """All labels of what an attempt starts, with their prefix."""
    told = {**place(worker, spec), **job(worker, spec, ref), "attempt": str(ref.attempt)}
    return {**spec.labels, **prefixed(told)}


def release_labels(spec: DeploySpec, process: str = WEB) -> dict[str, str]:
    """Labels, with their prefix, of what serves: whose it is, and how it is ended, restarted and probed."""
    told = {
        "release": spec.release,
        "process": process,
        "grace": f"{spec.grace:g}",
        "restart": spec.restart,
    }
    return {**prefixed(told), PROBE: spec.probe.model_dump_json()}


def grace(labels: Mapping[str, str]) -> float:
    """Seconds between SIGTERM and SIGKILL for a container with these labels."""
    try:
        return float(labels.get(PREFIX + "grace", _GRACE))
    except ValueError:
        return _GRACE


def pulled(instance: str, image: Image) -> str:
    """The tag by which the janitor knows an image that was not here before it was pulled."""
    return f"{PULLED}/{instance.lower()}:{image.id.removeprefix('sha256:')[:24]}"


def network(worker: str, instance: str, repository: str, environment: str, room: int = 1) -> str:
    """The network that an environment's containers have to themselves on one worker.

    A release that needs more `room` than the usual, in containers, has another one: networks do not grow.
    Two instances whose workers have the same name on the same engine would find each other's services in it.
    """
    size = "" if is_small(room) else f"-{bits(room)}"
    unique = _unique(worker, instance, repository, environment)
    return f"blacktree-{_slug(repository)}-{_slug(environment)}-{unique}{size}"


def room(spec: DeploySpec) -> int:
    """How many containers an environment may have at once: old ones, new ones, a command, tasks."""
    replicas = [one.replicas for one in spec.processes] or [spec.replicas]
    services = len(spec.services.wanted) + len(spec.services.needed) if spec.services else 0
    return 2 * sum(replicas) + 1 + services + spec.tasks


def shared_network(worker: str, repository: str, name: str) -> str:
    """The network of those environments of a repository, on one worker, that name it."""
    return f"blacktree-{_slug(repository)}-{_slug(name)}-{_unique('shared', worker, repository, name)}"


def service(instance: str, repository: str, environment: str) -> str:
    """An environment's service on a Swarm, and its network: one for all workers. At most 63 characters."""
    return (
        f"blacktree-{_slug(repository, 24)}-{_slug(environment, 18)}"
        f"-{_unique(instance, repository, environment)}"
    )


def shared_overlay(instance: str, repository: str, name: str) -> str:
    """As `shared_network`, on a Swarm."""
    return f"blacktree-{_slug(repository)}-{_slug(name)}-{_unique('shared', instance, repository, name)}"


def container(spec: DeploySpec, what: str = "") -> str:
    """A name that no other container has, of another worker on the same engine either."""
    return f"blacktree-{_slug(spec.repository)}-{_slug(spec.environment)}{what}-{secrets.token_hex(4)}"


def process(labels: Mapping[str, str]) -> str:
    """Whose container it is with these labels; those of before had no other."""
    return labels.get(PROCESS, WEB)


def aside(name: str, *, alone: bool = False) -> str:
    """The name of a container that was stopped to make way: the mark outlives the worker and the engine.

    One that is `alone` never runs beside its successor; any other could not, were the port not free.
    """
    return back(name) + (_ALONE if alone else "") + _ASIDE


def is_aside(name: str) -> bool:
    return name.endswith(_ASIDE)


def back(name: str) -> str:
    """Its name once it serves again."""
    return name.removesuffix(_ASIDE).removesuffix(_ALONE)


def is_alone(name: str) -> bool:
    return name.endswith(_ALONE + _ASIDE)


def _unique(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]


def _slug(text: str, most: int = 40) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower())[:most].strip("-.") or "x"
