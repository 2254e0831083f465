"""What `/plan` says of settings, as values."""

from __future__ import annotations

from typing import Any

import pytest

from bot.decisions.commands.looks import differing

OLD: dict[str, Any] = {
    "port": 1,
    "services": {"db": {"image": "postgres:16"}, "cache": {"image": "redis:8"}, "gone": {}},
    "processes": {"web": {"port": 80}, "worker": {"replicas": 1}},
}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        (OLD, OLD, []),
        (OLD, OLD | {"port": 2}, ["port"]),
        (
            OLD,
            OLD | {"services": {"db": {"image": "postgres:17"}, "cache": {"image": "redis:8"}}},
            ["service db", "service gone"],
        ),
        (
            OLD,
            OLD | {"processes": {"web": {"port": 80}, "worker": {"replicas": 2}, "clock": {}}},
            ["processes.clock", "processes.worker"],
        ),
        (OLD, OLD | {"processes": {}}, ["processes.web", "processes.worker"]),
        ({}, {"services": {}, "processes": {}}, []),
        ({"services": {"db": {}}, "processes": None}, {}, ["service db"]),
    ],
)
def test_settings_that_differ_are_named_and_of_services_and_processes_which(
    old: dict[str, Any], new: dict[str, Any], named: list[str]
) -> None:
    assert differing(old, new) == named
