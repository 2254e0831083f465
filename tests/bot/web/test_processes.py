"""What the API tells of releases of several processes: never the value of a variable."""

from __future__ import annotations

from typing import Any

from bot.store.tables import Release
from bot.web.places import difference, shown


def release(number: int, images: dict[str, str], **env: str) -> Release:
    process = {"image": "api", "env": env, "replicas": number}
    columns: dict[str, Any] = {"settings": {"env": env, "processes": {"worker": process}}, "images": images}
    known: dict[str, Any] = {"environment_id": 1, "run_id": 1, "job_id": f"{number}-2", "image": "api@1"}
    return Release(id=number, sha="a" * 40, **known, **columns)


def test_a_comparison_names_variables_and_images_and_shows_no_value() -> None:
    before = release(1, {"api": "api@1", "web": "web@1"}, KEY="s3cret", OLD="s3cret")
    after = release(2, {"api": "api@1", "web": "web@2"}, KEY="s3cret", NEW="s3cret")

    told = difference(before, after, "https://github.com/acme/shop")

    assert told["images"] == {"web": ["web@1", "web@2"]}
    old, new = told["settings"]["processes"]
    assert (old["worker"]["env"], new["worker"]["env"]) == (["KEY", "OLD"], ["KEY", "NEW"])
    assert (old["worker"]["replicas"], new["worker"]["replicas"]) == (1, 2)
    assert "s3cret" not in str(told)
    assert shown(after.settings)["processes"]["worker"]["env"] == ["KEY", "NEW"]
