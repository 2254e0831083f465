"""Pure: the values of a Compose file in the spellings of a `.blacktree.yml`.

Each raises ValueError with what to write, and None or nothing stands for what is left out.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.importing.interpolation import Unfilled

_PORT = re.compile(
    r"(?:(?:\[[0-9a-fA-F:]+\]|[0-9]+(?:\.[0-9]+){3}):)?(?:(?P<published>[0-9]*):)?(?P<target>[0-9]+)(?:/(?P<protocol>[a-z]+))?"
)
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?(?:us|ms|s|m|h))+|0")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([bkmgBKMG]?)[bB]?")
_SIZES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_HOST_PATH = re.compile(r"[./~\\]|[A-Za-z]:[\\/]")
_YES = ("", "true", "yes", "on")


@dataclass(frozen=True)
class Port:
    """A port of a container that is published."""

    target: int
    published: str  # on the host; empty for any
    protocol: str


@dataclass(frozen=True)
class Mount:
    """Something that a container has at a path."""

    kind: str  # volume, bind, tmpfs; empty for a volume without a name
    source: str
    target: str


def port(value: Any) -> Port:
    if isinstance(value, Mapping):
        target, published = str(value.get("target") or ""), str(value.get("published") or "")
        protocol = str(value.get("protocol") or "tcp")
    else:
        found = _PORT.fullmatch(str(value))
        if found is None:
            raise ValueError("must be one port, such as 8080:80: write each of a range by itself")
        target, published = found["target"], found["published"] or ""
        protocol = found["protocol"] or "tcp"
    if not re.fullmatch(r"0*[0-9]{1,5}", target) or not 1 <= int(target[-5:]) <= 65535:
        raise ValueError("must have the container's port, such as 8080:80")
    return Port(int(target[-5:]), published, protocol)


def mount(value: Any) -> Mount:
    if isinstance(value, Mapping):
        kind, source = str(value.get("type") or "volume"), str(value.get("source") or "")
        target = str(value.get("target") or "")
    else:
        parts = str(value).split(":")
        source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
        kind = "bind" if _HOST_PATH.match(source) else "volume"
    if not target.startswith("/"):
        raise ValueError("must be VOLUME:PATH with the absolute path in the container")
    return Mount("" if kind == "volume" and not source else kind, source, target.rstrip("/") or "/")


def command(value: Any) -> list[str] | None:
    """Compose splits one line at its spaces and quotes, and starts no shell."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        raise ValueError("must be one line, or a list")
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError:
            raise ValueError("has a quote that is not closed") from None
    return [str(part if part is not None else "") for part in value]


def pairs(value: Any) -> dict[str, Any]:
    """Of a mapping, or a list of NAME=VALUE; None for a name alone. Values stay what they are."""
    if isinstance(value, Mapping):
        if odd := [key for key, one in value.items() if isinstance(one, Mapping | list)]:
            raise ValueError(f"{odd[0]} must be a text")
        return dict(value)
    if not isinstance(value, list | None):
        raise ValueError("must be a mapping, or a list of NAME=VALUE")
    found: dict[str, Any] = {}
    for one in value or []:
        if one is None:
            raise ValueError("has an entry without a name: write NAME=VALUE, or remove it")
        if isinstance(one, Unfilled) and "=" not in str(
            one.parts[0] if isinstance(one.parts[0], str) else ""
        ):
            name = one.missing[0].name
            raise ValueError(f"has an entry whose name is a variable without a value, {name}: write it out")
        if isinstance(one, Unfilled):
            name, _, rest = str(one.parts[0]).partition("=")
            found[name.strip()] = Unfilled((*([rest] if rest else []), *one.parts[1:]))
            continue
        name, equals, rest = str(one).partition("=")
        found[name.strip()] = rest if equals else None
    return found


def labelled_web(labels: Any) -> tuple[bool, int | None]:
    """Whether `blacktree.web` is there, and the port that it names."""
    said = pairs(labels)
    if "blacktree.web" not in said:
        return False, None
    value = str(said["blacktree.web"] if said["blacktree.web"] is not None else "").lower()
    if value in _YES:
        return True, None
    if re.fullmatch(r"[0-9]{1,5}", value) and 1 <= int(value) <= 65535:
        return True, int(value)
    if value in ("false", "no", "off"):
        return False, None
    raise ValueError("must be true, or the port that visitors reach")


def duration(value: Any) -> float:
    """Seconds of 1m30s."""
    text = str(value)
    if not _DURATION.fullmatch(text):
        raise ValueError("must be a time such as 30s or 1m30s")
    return sum(
        float(number) * _SECONDS[unit]
        for number, unit in re.findall(r"([0-9]+(?:\.[0-9]*)?)(us|ms|s|m|h)", text)
    )


def size(value: Any) -> str:
    found = _SIZE.fullmatch(str(value).strip())
    if found is None:
        raise ValueError("must be a size such as 512m or 2g")
    amount = math.ceil(float(found[1]) * _SIZES[found[2].lower()])
    for unit in "gmk":
        if amount % _SIZES[unit] == 0:
            return f"{amount // _SIZES[unit]}{unit}"
    return str(amount)


def name(text: str) -> str:
    """As images, processes and services are called here."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:40].rstrip("-") or "app"
