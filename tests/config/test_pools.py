"""POOLS: which pools grow and shrink, and what is told of one that makes no sense."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.pools import parsed
from config.sources import load

RABBIT = {"BLACKTREE_QUEUE_URL": "amqp://rabbit.test/", "BLACKTREE_REGISTRY": "ghcr.io/acme"}


def test_a_pool_says_its_kind_and_its_bounds_and_the_rest_has_defaults() -> None:
    first, second = parsed("builders: processes max=4; cloud: ec2 group=blacktree min=1 max=20 wait=7.5")

    assert (first.name, first.kind, first.min, first.max) == ("builders", "processes", 0, 4)
    assert (first.slots, first.wait, first.cooldown, first.boot) == (2, 30, 300, 300)
    assert (second.group, second.min, second.wait) == ("blacktree", 1, 7.5)


def test_engines_are_named_by_commas() -> None:
    (pool,) = parsed("boxes: containers image=acme/worker:1 max=2 hosts=tcp://10.0.0.7:2376,ssh://b")

    assert pool.engines == ("tcp://10.0.0.7:2376", "ssh://b")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("builders", "must be NAME: KIND"),
        ("builders: boats max=1", "builders: boats is none of processes, containers, ec2"),
        ("builders: processes", "builders: max is missing"),
        ("builders: processes max=many", "builders: max must be a whole number"),
        ("builders: processes min=3 max=2", "builders: min is greater than max"),
        (
            "builders: processes max=2 cooldwon=3",
            "builders: processes know no cooldwon. Did you mean cooldown?",
        ),
        ("builders: processes max=2 group=a", "builders: processes know no group."),
        ("builders: processes max= 2", "builders: max must be KEY=VALUE, without spaces in it"),
        ("cloud: ec2 max=2", "cloud: group is missing: write group=…"),
        ("boxes: containers max=2", "boxes: image is missing: write image=…"),
        ("a: processes max=1; a: processes max=2", "a stands twice: keep one of them"),
    ],
)
def test_what_makes_no_sense_is_named(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"BLACKTREE_POOLS": text, **RABBIT})

    assert "BLACKTREE_POOLS: " in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(("missing", "told"), [("QUEUE_URL", "set QUEUE_URL"), ("REGISTRY", "set REGISTRY")])
def test_what_such_a_pool_needs_is_asked_for(missing: str, told: str) -> None:
    given = {name: value for name, value in RABBIT.items() if name != f"BLACKTREE_{missing}"}

    with pytest.raises(ConfigError) as caught:
        load({"BLACKTREE_POOLS": "builders: processes max=2", **given})

    assert told in str(caught.value)
