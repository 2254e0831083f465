"""The JSON Schema of `.blacktree.yml`, for editors that complete and check it while it is written."""

from __future__ import annotations

from typing import Any

from config.repository import Repository

ID = "urn:blacktree:blacktree.schema.json"


def schema() -> dict[str, Any]:
    """The schema, short forms included. What only the program can tell (circles, names) is not in it."""
    made = _loose(Repository.model_json_schema())
    test = made["$defs"]["Image"]["properties"]["test"]
    test["anyOf"] = [*made["$defs"]["Test"]["properties"]["command"]["anyOf"], *test["anyOf"]]
    command = made["$defs"]["Test"]["properties"]["command"]["anyOf"]
    service = made["$defs"]["Service"]["properties"]
    service["healthcheck"]["anyOf"] += command
    service["seed"]["anyOf"] += command
    made["$defs"]["Seed"]["properties"]["scrub"]["anyOf"] += command
    defs = made["$defs"]
    defs["Logs"]["properties"]["drain"]["anyOf"].append(defs["LogDrain"]["properties"]["to"])
    parts = made["$defs"]["Environment"]["properties"]
    services, processes = parts["services"]["patternProperties"], parts["processes"]["patternProperties"]
    tasks = parts["tasks"]["patternProperties"]
    for pattern, meant in services.items():
        services[pattern] = {"anyOf": [service["image"], meant]}
    for pattern, meant in processes.items():
        processes[pattern] = {"anyOf": [*command, meant, {"type": "null"}]}
    for pattern, meant in tasks.items():
        tasks[pattern] = {"anyOf": [*command, meant]}
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


def _loose(part: Any) -> Any:
    """As people write by habit: numbers for texts, one entry for a list of one, nothing for empty."""
    if isinstance(part, list):
        return [_loose(one) for one in part]
    if not isinstance(part, dict):
        return part
    loose = {key: _loose(value) for key, value in part.items()}
    kind = part.get("type")
    if kind == "string" and "enum" not in part and "const" not in part:
        loose["type"] = ["string", "number", "boolean"]
    elif kind == "object":
        loose["type"] = ["object", "null"]
    elif kind == "array":
        notes = {key: loose.pop(key) for key in ("default", "description", "title") if key in loose}
        return {"anyOf": [loose, loose["items"], {"type": "null"}], **notes}
    return loose
