"""Pure: the pools that grow and shrink by themselves, as POOLS writes them.

One by one, divided by `;`: `NAME: KIND KEY=VALUE …`, such as `builders: processes max=4 wait=20`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from config.errors import nearest, sentences

Kind = Literal["processes", "containers", "ec2"]
# Room is left for the number of each of its workers: NAME-12.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,48}")
_ONLY: dict[str, tuple[str, ...]] = {
    "processes": (),
    "containers": ("image", "hosts", "network"),
    "ec2": ("group", "region", "parameters"),
}
_NEEDED = {"containers": "image", "ec2": "group"}


class Pool(BaseModel):
    """How many workers a pool may have, of which kind, and when there are more or fewer of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    kind: Kind
    min: int = Field(0, ge=0, le=1000)
    max: int = Field(ge=0, le=1000)
    slots: int = Field(2, ge=1, le=64)  # of each worker
    wait: float = Field(30, gt=0, le=86_400)  # seconds that a job is to wait at most
    cooldown: float = Field(300, ge=0, le=86_400)  # seconds that one too many stays
    labels: str = ""  # of its workers beside their architecture, with + between them
    boot: float = Field(300, gt=0, le=86_400)  # seconds in which one that is started has to be heard

    image: str = ""  # of the worker's containers
    hosts: str = ""  # engines, by commas, as DOCKER_HOST writes them; the bot's own if empty
    network: str = ""  # of the engine, that the containers are in
    group: str = ""  # the Auto Scaling group's name
    region: str = ""  # AWS's; that of the bot's machine if empty
    parameters: str = "/blacktree/workers/"  # what the names in SSM's Parameter Store begin with

    @property
    def has(self) -> frozenset[str]:
        """The labels that its workers may be expected to have."""
        return frozenset({*filter(None, self.labels.split("+")), "amd64", "arm64"})

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(filter(None, (host.strip() for host in self.hosts.split(","))))


def parsed(text: str) -> tuple[Pool, ...]:
    """The pools in `text`. Raises ValueError with what is wrong, and where."""
    pools = tuple(_pool(part.strip()) for part in text.split(";") if part.strip())
    names = [pool.name for pool in pools]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} stands twice: keep one of them")
    return pools


def _pool(text: str) -> Pool:
    name, colon, rest = text.partition(":")
    kind, *words = rest.split() or [""]
    if not colon or not _NAME.fullmatch(name.strip()) or not kind:
        raise ValueError("must be NAME: KIND KEY=VALUE …, such as builders: processes max=4")
    name = name.strip()
    if kind not in get_args(Kind):
        raise ValueError(f"{name}: {kind} is none of {', '.join(get_args(Kind))}")
    given = dict(_pair(name, kind, word) for word in words)
    try:
        pool = Pool(name=name, kind=kind, **given)
    except ValidationError as error:
        where, sentence = sentences(error, 1)[0]
        raise ValueError(f"{name}: {'.'.join(map(str, where))} {sentence}") from None
    if pool.min > pool.max:
        raise ValueError(f"{name}: min is greater than max")
    if (needed := _NEEDED.get(kind)) and not getattr(pool, needed):
        raise ValueError(f"{name}: {needed} is missing: write {needed}=…")
    return pool


def _pair(name: str, kind: str, word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    known = _keys(kind)
    if not equals or not value:
        raise ValueError(f"{name}: {key} must be KEY=VALUE, without spaces in it")
    if key not in known:
        raise ValueError(f"{name}: {kind} know no {key}.{nearest(key, known)}")
    return key, value


def _keys(kind: str) -> Sequence[str]:
    special = {key for keys in _ONLY.values() for key in keys}
    return [
        key
        for key in Pool.model_fields
        if key not in ("name", "kind") and (key not in special or key in _ONLY[kind])
    ]


def _checked(text: str) -> str:
    parsed(text)
    return text


PoolsText = Annotated[str, AfterValidator(_checked)]
