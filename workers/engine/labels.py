"""What stands on containers: labels that we always set, all of them, so that no image's LABEL is one of them.

The engine gives an image's labels to its containers, and only a label that we set ourselves wins over one
of the same name. Some containers are none of ours: those of the classic builder's steps, and what somebody
starts by hand. They have the image's labels alone, so a container counts as ours by its name, and by an image
that claims nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from workers.contract.failure import user
from workers.engine.engine import PREFIX

NAMES = "blacktree-"  # what the names of our containers start with; the engine invents none like it
_CONTAINERS = (
    "worker", "environment", "job", "attempt", "role", "command", "task",
    "release", "process", "grace", "restart", "probe", "secrets", "address", "place", "service", "settings",
    "pinned",
)  # fmt: skip
_RESERVED = frozenset(PREFIX + name for name in _CONTAINERS)
_SCALING = f"{PREFIX}scaling."  # of workers' own containers
# Builds say these of an image, too.
_ALL = _RESERVED | {PREFIX + "repository", PREFIX + "instance"}


def whole(labels: Mapping[str, str]) -> dict[str, str]:
    """All labels of a container: what is not said is said to be empty."""
    if missing := [name for name in labels if name.startswith(PREFIX) and name not in _ALL]:
        raise ValueError(f"{missing[0]} is not always set: it must be named in workers/engine/labels.py")
    return {**dict.fromkeys(_ALL, ""), **labels}


def read(labels: Mapping[str, str] | None) -> dict[str, str]:
    """Of a container's labels those that we set to something."""
    return {name: value for name, value in (labels or {}).items() if name in _ALL and value}


def claims(labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """The labels of an image that only containers have from us."""
    return tuple(sorted(name for name in labels or () if name in _RESERVED or name.startswith(_SCALING)))


def refuse(claimed: Iterable[str]) -> None:
    """Raises Failure for an image that says what only Blacktree may say of a container."""
    if found := list(claimed):
        raise user(
            "reserved_label",
            f"The image has the label {found[0]}, which is Blacktree's own: remove it from the Dockerfile, or"
            " take a base image without it",
        )
