"""What is left of GitHub's limits: each credential has its own, and the one with least left is told."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from bot.metrics.labels import OTHER

_MOST = 1000  # credentials that are known at once
# https://docs.github.com/rest/rate-limit/rate-limit: those that a bot like ours meets.
_RESOURCES = {"core", "search", "graphql", "code_search", "integration_manifest"}


@dataclass(frozen=True)
class Left:
    """What one answer said: so much of `limit` is left until `reset`, in seconds since 1970."""

    remaining: int
    limit: int
    reset: int


class Limits(Collector):
    """Heard from the headers of each answer; forgotten when their time is over."""

    def __init__(self) -> None:
        self._left: OrderedDict[tuple[str, int], Left] = OrderedDict()

    def heard(self, authorization: str, headers: Mapping[str, str]) -> None:
        """https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#checking-the-status"""
        told = [headers.get(f"x-ratelimit-{name}", "") for name in ("remaining", "limit", "reset")]
        if not all(value.isdecimal() and len(value) < 16 for value in told):
            return
        resource = headers.get("x-ratelimit-resource", "core")
        key = (resource if resource in _RESOURCES else OTHER, hash(authorization))
        self._left.pop(key, None)
        self._left[key] = Left(*map(int, told))
        while len(self._left) > _MOST:
            self._left.popitem(last=False)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        now = time.time()
        for key in [key for key, left in self._left.items() if left.reset < now]:
            del self._left[key]
        nearest: dict[str, Left] = {}
        for (resource, _), left in self._left.items():
            known = nearest.get(resource, left)
            nearest[resource] = min(known, left, key=lambda one: one.remaining)
        for name, says, values in (
            (
                "remaining",
                "Requests that GitHub still takes",
                {r: one.remaining for r, one in nearest.items()},
            ),
            ("most", "Requests that GitHub takes in an hour", {r: one.limit for r, one in nearest.items()}),
        ):
            family = GaugeMetricFamily(
                f"blacktree_github_limit_{name}", f"{says}, of the credential that is nearest to its limit",
                labels=["resource"],
            )  # fmt: skip
            for resource, value in values.items():
                family.add_metric([resource], value)
            yield family
