"""Which networks a service leaves: those of releases that are gone, and none while it would be alone."""

from __future__ import annotations

import pytest

from workers.deploy.networks import left
from workers.engine.engine import PREFIX, Container


def container(name: str, *networks: str, service: bool = False) -> Container:
    labels = {PREFIX + "service": name} if service else {PREFIX + "release": name}
    return Container(name, name, labels, "exited", 0, 0, False, None, networks=networks)


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([container("db", "old", "new", service=True), container("r2", "new")], [("db", "old")]),
        ([container("db", "old", "new", service=True), container("r1", "old"), container("r2", "new")], []),
        ([container("db", "old", "new", service=True)], []),  # all is stopped: either may be asked for
        ([container("db", "old", service=True), container("r2", "new")], []),
        ([container("r2", "new", "shared")], []),
        (
            [container(name, "old", "new", service=True) for name in ("db", "mq")] + [container("r2", "new")],
            [("db", "old"), ("mq", "old")],
        ),
    ],
)
def test_a_service_leaves_where_no_release_is(
    containers: list[Container], expected: list[tuple[str, str]]
) -> None:
    assert [(one.name, network) for one, network in left(containers)] == expected
