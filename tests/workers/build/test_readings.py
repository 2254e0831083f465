"""How a Dockerfile may be read: by its builder, or by the frontend that it names, and what that one knows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from workers.build.bases import Unknown
from workers.build.readings import is_official, is_usual, read

HIDDEN = 'FROM a\nRUN <<"RUN true"\nFROM private\nRUN true\n'
TORN = "FROM a\nRUN <<EOF\nCOPY --from=$X . .\nEOF\n"


@dataclass
class Reader:
    heredocs: bool = True
    frontends: bool = True


@pytest.mark.parametrize(
    ("syntax", "reader", "seen"),
    [
        ("", Reader(), [False]),
        ("", Reader(heredocs=False), [True]),
        ("docker/dockerfile:1", Reader(heredocs=False), [False]),
        ("docker/dockerfile:1", Reader(heredocs=False, frontends=False), [True]),
        ("docker/dockerfile:1.3", Reader(), [False, True]),
        (f"docker/dockerfile:1@sha256:{'0' * 64}", Reader(), [False, True]),
        ("mine/frontend:1", Reader(), [False, True]),
    ],
)
def test_what_a_heredoc_hides_is_seen_wherever_its_reader_may_see_it(
    syntax: str, reader: Reader, seen: list[bool]
) -> None:
    text = f"# syntax={syntax}\n{HIDDEN}" if syntax else HIDDEN

    assert ["private" in one.images for one in read(text.encode(), {}, reader)] == seen


@pytest.mark.parametrize("syntax", ["docker/dockerfile:1.3", "mine/frontend:1"])
def test_a_frontend_that_may_read_it_in_a_way_that_is_not_known_makes_it_unknown(syntax: str) -> None:
    assert read(TORN.encode(), {}, Reader())
    with pytest.raises(Unknown):
        read(f"# syntax={syntax}\n{TORN}".encode(), {}, Reader())


@pytest.mark.parametrize(
    ("frontend", "official", "usual"),
    [
        ("docker/dockerfile", True, True),
        ("docker/dockerfile:1", True, True),
        ("docker.io/docker/dockerfile:1.4", True, True),
        ("registry-1.docker.io/docker/dockerfile:1.17.1-labs", True, True),
        ("docker/dockerfile:latest", True, True),
        ("docker/dockerfile:1.0", True, False),
        ("docker/dockerfile:1.3.1", True, False),
        ("docker/dockerfile:1.3-labs", True, False),
        ("docker/dockerfile:1-experimental", True, False),
        ("docker/dockerfile:experimental", True, False),
        ("docker/dockerfile:1.4-rc1", True, False),
        ("docker/dockerfile:11", True, False),
        (f"docker/dockerfile:1.0@sha256:{'0' * 64}", True, False),
        ("docker/dockerfile-upstream:1", False, False),
        ("localhost:5000/docker/dockerfile:1", False, False),
        ("evil.example/docker/dockerfile:1", False, False),
    ],
)
def test_a_frontend_is_known_by_its_name_and_version(frontend: str, official: bool, usual: bool) -> None:
    assert (is_official(frontend), is_usual(frontend)) == (official, usual)
