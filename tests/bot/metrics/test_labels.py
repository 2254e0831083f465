"""Labels stay few, whoever chooses their values."""

from __future__ import annotations

import time

from prometheus_client import generate_latest

from bot.metrics.instruments import Instruments
from bot.metrics.labels import Few


def test_only_so_many_values_are_told_apart_and_those_that_came_first_stay() -> None:
    few = Few(3, known=["push"])
    assert [few(value) for value in ("push", "a", "b", "c", "a", "push", "")] == [
        "push", "a", "b", "other", "a", "push", "",
    ]  # fmt: skip


def test_what_is_no_word_is_no_label() -> None:
    assert {Few(9)(value) for value in ("a b", "x" * 64, 'say "so"', "ü", "\n", "-")} == {"other"}


def test_a_thousand_reasons_and_events_make_no_thousand_series() -> None:
    instruments = Instruments()
    before = len(generate_latest(instruments.registry).splitlines())
    for number in range(1000):
        instruments.job_ended("build", "failed", f"reason_{number}", None)
        instruments.received(f"event_{number}", "accepted", 0.001)
        instruments.scaled(f"pool-{number}", wanted=1, actual=1)
    assert len(generate_latest(instruments.registry).splitlines()) - before < 800


def limits(instruments: Instruments) -> dict[str, float]:
    return {
        sample.labels["resource"]: sample.value
        for metric in instruments.registry.collect()
        for sample in metric.samples
        if sample.name == "blacktree_github_limit_remaining"
    }


def heard(remaining: object, seconds: float = 60, resource: str = "core") -> dict[str, str]:
    told = {"remaining": remaining, "limit": 5000, "reset": int(time.time() + seconds), "resource": resource}
    return {f"x-ratelimit-{name}": str(value) for name, value in told.items()}


def test_of_several_credentials_the_one_with_least_left_is_told() -> None:
    instruments = Instruments()
    instruments.limits.heard("token one", heard(4000))
    instruments.limits.heard("token two", heard(20))
    instruments.limits.heard("token two", heard(19, resource="search"))
    assert limits(instruments) == {"core": 20, "search": 19}
    instruments.limits.heard("token two", heard(4500))
    assert limits(instruments) == {"core": 4000, "search": 19}


def test_a_limit_whose_time_is_over_and_headers_that_say_none_are_not_told() -> None:
    instruments = Instruments()
    instruments.limits.heard("token", heard(3, seconds=-5))
    instruments.limits.heard("token two", {"x-ratelimit-remaining": "3"})
    instruments.limits.heard("token three", heard("many"))
    assert limits(instruments) == {}


def test_credentials_without_end_are_not_all_remembered() -> None:
    instruments = Instruments()
    for number in range(5000):
        instruments.limits.heard(f"token {number}", heard(5000 - number))
    assert limits(instruments) == {"core": 1}
    instruments.limits.heard("the newest", heard(0))
    assert limits(instruments) == {"core": 0}
    assert len(instruments.limits._left) == 1000
