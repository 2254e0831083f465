"""Pure: what changed from one release to another, for people. Of variables only the names, never a value."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bot.store.tables import Release
from bot.web.places import difference

_MOST = 200  # characters of a value


@dataclass(frozen=True)
class Change:
    """Something that is not the same: what it was and is, empty where there is none."""

    kind: str
    what: str
    old: str
    new: str


def between(before: Release, after: Release) -> list[Change]:
    """Images, processes, services, variables and settings, in this order; the commits are a link's."""
    told = difference(before, after, "")
    images = told["images"] or ({"image": told["image"]} if told["image"] else {})
    found = [Change("image", name, _image(old), _image(new)) for name, (old, new) in images.items()]
    found += _parts("process", before.settings, after.settings, "processes")
    found += _parts("service", before.settings, after.settings, "services")
    for word, names in told["env"].items():
        found += [Change("variable", name, *_ENDS[word]) for name in names]
    found += [
        Change("setting", key, _value(old), _value(new))
        for key, (old, new) in told["settings"].items()
        if key != "processes"
    ]
    return found


_ENDS = {"added": ("", "set"), "removed": ("set", ""), "changed": ("another value", "another value")}


def _parts(kind: str, before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> list[Change]:
    """Of processes or services those that differ: the keys that do, without what their variables are."""
    old, new = before.get(key) or {}, after.get(key) or {}
    found = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        if was == now:
            continue
        keys = sorted(
            k for k in (was or {}).keys() | (now or {}).keys() if (was or {}).get(k) != (now or {}).get(k)
        )
        found.append(Change(kind, name, _some(was, keys), _some(now, keys)))
    return found


def _some(said: Mapping[str, Any] | None, keys: list[str]) -> str:
    if said is None:
        return ""
    shown = {
        key: sorted(said[key]) if key == "env" else said[key] for key in keys if said.get(key) is not None
    }
    return _value(shown) if shown else "there"


def _image(reference: str | None) -> str:
    """The digest's first digits behind the name: the whole of it says people nothing more."""
    name, _, digest = (reference or "").partition("@sha256:")
    return f"{name}@{digest[:12]}" if digest else name


def _value(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"
