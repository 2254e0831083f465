"""What is read of payloads, and how little of the rest becomes objects."""

from __future__ import annotations

import json
import resource
import time
from typing import Any

import pytest

from bot.intake.payload import outline, read

MEGABYTE = 1024 * 1024
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "repository": {"id": 7},
    "forced": False,
    "n": [1.5, None, "é"],
}


def test_a_payload_is_read_as_json_reads_it() -> None:
    assert read(json.dumps(PUSH)) == PUSH
    assert read(json.dumps(PUSH, ensure_ascii=False, indent=2)) == PUSH


def test_of_what_is_long_only_lists_of_repositories_are_read() -> None:
    long = ["x" * 1000] * 1100
    payload = {"commits": long, "repositories": long, "repositories_added": long, "ref": "refs/heads/main"}

    assert read(json.dumps(payload)) == {name: payload[name] for name in payload if name != "commits"}


def test_25_megabytes_of_empty_lists_are_checked_in_no_time_and_take_no_room() -> None:
    text = '{"action": "opened", "commits": [' + "[]," * (8 * MEGABYTE) + "[]]}"
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()

    assert (outline(text).action, read(text)) == ("opened", {"action": "opened"})

    assert time.process_time() - begun < 1.5  # json.loads: 4.6 s, and 600 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


@pytest.mark.parametrize("text", ['{"a": 1', '{"a": 1} x', "[]", "1", '{"a": [1,]}', '{"a": {"b": "\n"}}'])
def test_what_is_no_object_to_its_very_end_is_refused(text: str) -> None:
    for reads in (outline, read):
        with pytest.raises(ValueError, match=r"JSON|Expected|malformed|truncated"):
            reads(text)
