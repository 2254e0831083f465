"""The JSON Schema of `.blacktree.yml`, for editors that complete and check it while it is written."""

from __future__ import annotations

from typing import Any

from config.repository import Repository

ID = "urn:blacktree:blacktree.schema.json"


def schema() -> dict[str, Any]:
    """The schema, short forms included. What only the program can tell (circles, names) is not in it."""
    made = Repository.model_json_schema()
    command = made["$defs"]["Test"]["properties"]["command"]
    test = made["$defs"]["Image"]["properties"]["test"]
    test["anyOf"] = [{key: command[key] for key in ("type", "items", "minItems", "maxItems")}, *test["anyOf"]]
    made["patternProperties"] = {
        "^x-": {"description": "anchors for elsewhere; nothing else is read from it"}
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        **made,
        "title": ".blacktree.yml",
        "description": "What Blacktree builds of a repository, and what runs where.",
    }
