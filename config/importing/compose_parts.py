"""A Compose file's service ▸ an image, a process or a service of ours, with what of it is left out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from config.faults import Keys
from config.importing.compose_model import Healthcheck, Service
from config.importing.compose_values import Port, labelled_web, name
from config.importing.found import Notebook

_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock")
_HEALTHY = 60  # s: the default of a process (config/parts.py)
_SERVICE_HEALTHY = 120  # s: the default of a service (config/services.py)
_MOST_GRACE = 600.0
Has = Callable[[str], bool]


def image(one: Service, keys: Keys, notebook: Notebook) -> dict[str, Any]:
    """How it is built, with paths from the repository's top."""
    build = one.build
    assert build is not None, "only what is built has an image"  # noqa: S101
    keys = (*keys, "build")
    context = posixpath.normpath(build.context or ".")
    if "://" in build.context or build.context.startswith("git@"):
        notebook.refuse(
            (*keys, "context"), "another repository is not built: push it there, and deploy it by itself"
        )
        context = "."
    for variable in [key for key, value in build.args.items() if value is None]:
        notebook.refuse(
            (*keys, "args", variable), "has no value: write one, or name it in `secrets` of the build"
        )
    secrets = [
        str(said.get("source") or "") if isinstance(said, Mapping) else str(said) for said in build.secrets
    ]
    found = {
        "context": context,
        "dockerfile": posixpath.normpath(posixpath.join(context, build.dockerfile or "Dockerfile")),
        "target": build.target,
        "args": {key: value for key, value in build.args.items() if value is not None},
        "platforms": build.platforms or ([one.platform] if one.platform else []),
        "secrets": secrets,
        "ssh": "SSH_KEY" if build.ssh else None,
    }
    if build.ssh:
        notebook.leave_out(
            (*keys, "ssh"), "takes the key from the secret SSH_KEY: `blacktree secret set OWNER/REPO SSH_KEY`"
        )
    usual = {"context": ".", "dockerfile": "Dockerfile"}
    return {key: value for key, value in found.items() if value and usual.get(key) != value}


def process(key: str, one: Service, notebook: Notebook, *, served: bool) -> dict[str, Any]:
    keys = ("services", key)
    _, labelled = _label(one)
    ports = [*_tcp(one.ports, (*keys, "ports"), notebook), *one.expose]
    port = labelled or next((each.target for each in ports), None)
    for index, each in enumerate(one.ports):
        if served and each.target == port and each.published:
            said = f"visitors reach {port} by the environment's host name: no port {each.published} is opened"
        elif each.protocol == "tcp":
            said = (
                f"visitors do not reach {each.target}: write a `path` or `domain` for it in a .blacktree.yml"
            )
        else:
            continue
        notebook.leave_out((*keys, "ports", index), said)
    check = one.healthcheck
    health = {"health": _health(check)} if check and check.argv else {}
    if one.restart == "no" or (one.restart or "").startswith("on-failure:"):
        notebook.leave_out((*keys, "restart"), "a process that ends is started again, as often as it takes")
    # Two of what has data on one volume would write to it at once, as a database that is built here.
    alone = not served and any(each.kind == "volume" for each in one.volumes)
    common = _common(one, keys, notebook) | ({"overlap": False} if alone else {})
    return _said(port=port, command=one.command, **common, replicas=one.replicas) | health


def service(key: str, one: Service, variables: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    keys = ("services", key)
    if not one.image:
        notebook.refuse(keys, "has neither `build` nor `image`: write one of them")
    for each in one.ports:
        said = f"{each.target} is opened on no host: what is built reaches it as {name(key)}:{each.target}"
        notebook.leave_out((*keys, "ports"), said)
    if (one.replicas or 1) > 1:
        notebook.leave_out((*keys, "deploy"), "a service is one container")
    if one.platform:
        notebook.leave_out((*keys, "platform"), "is left out: the worker's own is used")
    volumes: dict[str, str] = {}
    for index, mounted in enumerate(one.volumes):
        here = (*keys, "volumes", index)
        if mounted.kind == "volume":
            there = volumes.setdefault(name(mounted.source), mounted.target)
            if there != mounted.target:
                notebook.refuse(here, _twice(mounted.source, there))
        elif mounted.kind == "bind":
            notebook.refuse(here, _bound(mounted.source, mounted.target))
        else:
            notebook.leave_out(
                here, f"what is written to {mounted.target} goes with the container: name a volume"
            )
    check = one.healthcheck
    health = {"healthcheck": _healthcheck(check)} if check and check.argv else {}
    return {
        **_said(image=one.image, command=one.command, volumes=volumes, user=one.user),
        **variables,
        **health,
        **_common(one, keys, notebook),
    }


def mounts(
    own: Mapping[str, Service], others: Mapping[str, Service], notebook: Notebook, has: Has
) -> dict[str, str]:
    """The volumes of what is built: all its processes have them."""
    theirs = {each.source for one in others.values() for each in one.volumes if each.kind == "volume"}
    found: dict[str, str] = {}
    for key, one in own.items():
        for index, each in enumerate(one.volumes):
            keys = ("services", key, "volumes", index)
            if each.kind == "volume" and each.source in theirs:
                notebook.refuse(
                    keys, f"{each.source} is a service's too: what is built shares volumes with nobody else"
                )
            elif each.kind == "volume":
                there = found.setdefault(name(each.source), each.target)
                if there != each.target:
                    notebook.refuse(keys, _twice(each.source, there))
            elif each.kind == "bind" and _is_of_repository(each.source, has):
                said = f"is not mounted: {each.target} is as the image has it, with this commit's files in it"
                notebook.leave_out(keys, said)
            elif each.kind == "bind":
                notebook.refuse(keys, _host(each.source, each.target))
            else:
                notebook.leave_out(keys, f"what is written to {each.target} goes with the container")
    return found


def _twice(volume: str, there: str) -> str:
    here = "" if name(volume) == volume else f" (as {name(volume)}, which another may be called too)"
    return f"{volume} is at {there} already{here}: mount it at one path"


def _is_of_repository(source: str, has: Has) -> bool:
    path = posixpath.normpath(source)
    if path.startswith(("/", "~", "..")):
        return False
    return path == "." or has(path)


def _host(source: str, target: str) -> str:
    if source.endswith(_SOCKETS):
        return "the engine's socket would give it the whole worker: leave it out"
    return (
        f"{source} of a host is not mounted: name a volume (`data:{target}`), or, for repositories that the"
        " instance trusts, write `host_mounts` in a .blacktree.yml"
    )


def _bound(source: str, target: str) -> str:
    if source.endswith(_SOCKETS):
        return _host(source, target)
    return (
        "nothing of a host or a repository is mounted into a service: for data name a volume"
        f" (`data:{target}`), for files give the service a `build` that COPYs them; what is for your own"
        " machine only gets `profiles: [local]`"
    )


def _tcp(ports: list[Port], keys: Keys, notebook: Notebook) -> list[Port]:
    for index, each in enumerate(ports):
        if each.protocol != "tcp":
            notebook.leave_out((*keys, index), f"{each.protocol} is not forwarded: visitors come by HTTP")
    return [each for each in ports if each.protocol == "tcp"]


def _label(one: Service) -> tuple[bool, int | None]:
    try:
        return labelled_web(one.labels)
    except ValueError:  # told where `web` is chosen
        return False, None


def _health(check: Healthcheck) -> dict[str, Any]:
    return {"command": check.argv, "timeout": check.within(_HEALTHY)}


def _healthcheck(check: Healthcheck) -> dict[str, Any]:
    interval = min(max(check.interval, 0.1), 3600)
    return {"command": check.argv, "interval": interval, "timeout": check.within(_SERVICE_HEALTHY)}


def _common(one: Service, keys: Keys, notebook: Notebook) -> dict[str, Any]:
    if one.deploy.mode.startswith("global"):
        notebook.refuse((*keys, "deploy", "mode"), "there is no container for each worker: write `replicas`")
    grace = one.stop_grace_period
    return _said(limits=one.limits, grace=None if grace is None else min(grace, _MOST_GRACE))


def _said(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None and value not in ({}, [])}
