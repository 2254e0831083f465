"""What the API shows of environments, as values."""

from __future__ import annotations

import json
from typing import Any

from bot.store.tables import Release
from bot.web.places import difference, shown


def release(number: int, **services: Any) -> Release:
    known: dict[str, Any] = {
        "environment_id": 1,
        "run_id": 1,
        "job_id": str(number),
        "sha": "a",
        "image": "i",
    }
    return Release(id=number, settings={"port": 1, "env": {"A": "hidden"}, "services": services}, **known)


def test_of_services_variables_only_the_names_are_shown() -> None:
    told = shown(release(1, db={"image": "postgres:17", "env": {"B": "hidden"}}).settings)
    assert told["services"] == {"db": {"image": "postgres:17", "env": ["B"]}}
    assert "hidden" not in json.dumps(told)


def test_between_two_releases_services_are_named_that_changed() -> None:
    before = release(1, db={"env": {"B": "hidden"}}, cache={"image": "redis:7"})
    after = release(2, db={"env": {"B": "hidden too"}}, search={"image": "opensearch:2"})
    told = difference(before, after, "https://github.com/acme/shop")
    assert told["services"] == {"added": ["search"], "removed": ["cache"], "changed": ["db"]}
    assert told["settings"] == {}
    assert "hidden" not in json.dumps(told)
