"""A Compose file's keys that have nothing here to be carried over to, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from config.errors import nearest
from config.faults import Keys
from config.importing.found import Notebook

_TRUSTED = (
    "only for repositories that the instance trusts, and never by a Compose file: write a .blacktree.yml"
)
# https://docs.docker.com/reference/compose-file/services/: what is read, by compose.py and its helpers
CARRIED = frozenset(
    [
        "build",
        "command",
        "cpus",
        "deploy",
        "depends_on",
        "env_file",
        "environment",
        "expose",
        "extends",
        "healthcheck",
        "image",
        "labels",
        "mem_limit",
        "pids_limit",
        "platform",
        "ports",
        "profiles",
        "read_only",
        "restart",
        "scale",
        "stop_grace_period",
        "user",
        "volumes",
    ]
)
# What only says how Compose goes about it, or what holds here anyway.
_NEEDLESS = frozenset(
    [
        "annotations",
        "attach",
        "container_name",
        "develop",
        "init",
        "logging",
        "mem_reservation",
        "mem_swappiness",
        "memswap_limit",
        "networks",
        "oom_score_adj",
        "pull_policy",
        "stdin_open",
        "tty",
        "links",
        "cpu_shares",
        "cap_drop",
        "security_opt",
        "userns_mode",
        "cpu_count",
        "cpu_percent",
        "blkio_config",
    ]
)
_LEFT_OUT = {
    "dns": "the engine's resolver is used",
    "dns_opt": "the engine's resolver is used",
    "dns_search": "the engine's resolver is used",
    "hostname": "others reach it by its service's name",
    "domainname": "others reach it by its service's name",
    "extra_hosts": "names of other hosts come from DNS",
    "label_file": "labels are not carried over",
    "shm_size": "the engine's size is used",
    "stop_signal": "write STOPSIGNAL in the Dockerfile",
    "sysctls": "the engine's are used",
    "tmpfs": "files are written in the container, and go with it",
    "ulimits": "the engine's are used",
}
_REFUSED = {
    "cap_add": f"{_TRUSTED} with `privileged: true`",
    "cgroup": f"{_TRUSTED} with `privileged: true`",
    "cgroup_parent": "is the engine's to choose: leave it out",
    "configs": "no file is mounted: COPY it in the Dockerfile, or give it as a variable",
    "credential_spec": "is for Windows only: leave it out",
    "device_cgroup_rules": f"{_TRUSTED} with `privileged: true`",
    "devices": f"{_TRUSTED} with `privileged: true`, and choose its worker with `runs_on`",
    "entrypoint": "write it as ENTRYPOINT in the Dockerfile; `command` may stay here",
    "external_links": "nothing outside of the environment is linked: reach it by its host name",
    "gpus": "choose a worker by its labels: write a .blacktree.yml with `runs_on: [gpu]`",
    "group_add": "write the user's groups into the Dockerfile",
    "ipc": f"{_TRUSTED} with `privileged: true`",
    "models": "there is no such thing here: leave it out",
    "pid": f"{_TRUSTED} with `privileged: true`",
    "post_start": "runs nothing here: put it into `command`",
    "pre_stop": "runs nothing here: handle SIGTERM in the program",
    "privileged": f"{_TRUSTED} with `privileged: true`",
    "provider": "nothing outside of Docker is started: leave it out",
    "runtime": "the worker's own is used: choose a worker with `runs_on` in a .blacktree.yml",
    "secrets": "no file is mounted: read a variable, and name it in `environment` without a value",
    "use_api_socket": "the engine's socket is given to nobody: leave it out",
    "uts": f"{_TRUSTED} with `privileged: true`",
    "volumes_from": "name the volumes themselves in `volumes`",
    "working_dir": "write it as WORKDIR in the Dockerfile",
}
_OFF = ("", "false", "no", "off", "none", "bridge", "default")
_BUILD = frozenset(
    {"context", "dockerfile", "target", "args", "ssh", "secrets", "platforms", "no_cache", "pull"}
)
_BUILD_NEEDLESS = frozenset(
    {"cache_from", "cache_to", "tags", "labels", "shm_size", "ulimits", "isolation", "sbom"}
)
_BUILD_NEEDLESS |= {"provenance", "network", "extra_hosts"}
_BUILD_REFUSED = {
    "additional_contexts": "one context is sent: copy what is needed below it, or COPY --from an image",
    "dockerfile_inline": "write it into a file, and name that as `dockerfile`",
    "entitlements": "builds have no more rights than others: leave it out",
    "privileged": "builds have no more rights than others: leave it out",
}


def is_unread(key: str) -> bool:
    """Whether what a service has there changes nothing, so that its variables need no value."""
    return key in _NEEDLESS or key in _LEFT_OUT or key == "labels" or key.startswith("x-")


def unlike(service: Mapping[str, Any], keys: Keys, notebook: Notebook) -> None:
    """Tell of what a service has that is not carried over."""
    for key, value in service.items():
        off = not value or str(value).lower() in _OFF
        if key in CARRIED or key in _NEEDLESS or key.startswith("x-") or off:
            continue
        here = (*keys, key)
        if key == "network_mode":
            notebook.refuse(here, _network(str(value)))
        elif key in _REFUSED:
            notebook.refuse(here, _REFUSED[key])
        elif key in _LEFT_OUT:
            notebook.leave_out(here, f"is left out: {_LEFT_OUT[key]}")
        else:
            notebook.leave_out(here, f"is not known here, and left out.{nearest(key, _known())}")


def unlike_build(build: Mapping[str, Any], keys: Keys, notebook: Notebook) -> None:
    for key, value in build.items():
        if key in _BUILD_REFUSED and value and str(value).lower() not in _OFF:
            notebook.refuse((*keys, key), _BUILD_REFUSED[key])
        elif key not in _BUILD | _BUILD_NEEDLESS | set(_BUILD_REFUSED) and not key.startswith("x-"):
            notebook.leave_out((*keys, key), f"is not known here, and left out.{nearest(key, _BUILD)}")


def _known() -> Iterable[str]:
    return [*CARRIED, *_REFUSED, *_LEFT_OUT]


def _network(mode: str) -> str:
    if mode == "host":
        return f"{_TRUSTED} with `host_network: true`; to be reached, `ports` will do"
    return "each environment has one network of its own, in which all reach each other: leave it out"
