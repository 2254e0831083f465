"""Pure: openapi.json, made of the table that the routes are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse, Response

from bot.web.api.keys import KEY
from bot.web.api.operation import JSON, Call, Operation
from bot.web.problems import MEDIA_TYPE, Problem
from bot.web.rules import KNOWN

PATH = "/openapi.json"
_REF = "#/components/schemas/{model}"
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "of your making: a request that comes again with it is answered as before, for a day",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY},
}
_SINCE = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag that you have: 304 if nothing has changed",
    "schema": {"type": "string"},
}
_LINK = {"description": "the part that follows, `rel=next`, where there is one", "schema": {"type": "string"}}


def operation(others: Sequence[Operation]) -> Operation:
    """The operation that gives the document of all `others`, and of itself."""

    async def given(_call: Call) -> Response:
        return JSONResponse(document((*others, own)), headers={"Cache-Control": "private, no-cache"})

    own = Operation("GET", PATH, KNOWN, "This document", given, dict[str, Any])
    return own


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0."""
    table = list(operations)
    schemas = _schemas(table)
    paths: dict[str, dict[str, Any]] = {}
    for one in table:
        paths.setdefault(one.template, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Blacktree",
            "version": version("blacktree"),
            "description": "What ran, what runs, what is live, and all that can be ordered.",
        },
        "servers": [{"url": "/api/v1"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(table: Sequence[Operation]) -> dict[str, Any]:
    """All models by name."""
    answered = [_model(one.answers) for one in table]
    wanted: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    wanted += [(model, "serialization") for model in dict.fromkeys(answered) if model is not None]
    wanted += [(body, "validation") for body in dict.fromkeys(one.body for one in table) if body is not None]
    _, told = models_json_schema(wanted, ref_template=_REF)
    return dict(told.get("$defs", {}))


def _model(answers: Any) -> type[BaseModel] | None:
    """The model that an answer is, or is a list of."""
    kind = getattr(answers, "__args__", (answers,))[-1]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _operation(one: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "x-right": one.rule.needs,
        "parameters": [*_path(one), *_query(one)],
        "responses": _responses(one),
    }
    if one.method == "GET" and one.media == (JSON,) and one.path != PATH:
        told["parameters"].append(_SINCE)
    if one.makes:
        told["parameters"].append(_KEY)
    if one.body is not None:
        schema = {"$ref": _REF.format(model=one.body.__name__)}
        required = any(field.is_required() for field in one.body.model_fields.values())
        told["requestBody"] = {"required": required, "content": {JSON: {"schema": schema}}}
    return told


def _path(one: Operation) -> list[dict[str, Any]]:
    kinds = {
        "int": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        "": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": r"^[A-Za-z0-9_.@~-]+$"},
    }
    return [
        {"name": name, "in": "path", "required": True, "schema": kinds[kind]}
        for name, kind in one.names.items()
    ]


def _query(one: Operation) -> list[dict[str, Any]]:
    if one.query is None:
        return []
    schema = one.query.model_json_schema()
    defs = schema.get("$defs", {})
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _flat(field, defs),
        }
        for name, field in schema["properties"].items()
    ]


def _flat(field: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """A parameter's schema without references, titles, and the null that no query can say."""
    if "$ref" in field:
        field = {**defs[field["$ref"].rpartition("/")[2]], **{k: v for k, v in field.items() if k != "$ref"}}
    choices = [_flat(choice, defs) for choice in field.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        field = {**choices[0], **{key: value for key, value in field.items() if key != "anyOf"}}
    hidden = ("title", "default") if field.get("default", 0) is None else ("title",)
    return {key: value for key, value in field.items() if key not in hidden}


def _responses(one: Operation) -> dict[str, Any]:
    problem = {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}}
    said = {
        "400": "What was sent is not understood",
        "401": "A token is needed",
        "403": "The token may not do this",
        "429": "Too often: Retry-After",
        "503": "What this needs is away, such as GitHub's word of who may what: Retry-After",
    }
    if one.names:
        said["404"] = "There is none"
    if one.method != "GET":
        said |= {
            "409": "Not now: something holds it",
            "413": "Too large",
            "422": "Not possible",
            "502": "GitHub",
        }
    told: dict[str, Any] = {
        status: {"description": why, "content": problem} for status, why in sorted(said.items())
    }
    if one.method == "GET" and one.media == (JSON,):
        told["304"] = {"description": "Unchanged"}
    told["default"] = {"description": "Something else went wrong", "content": problem}
    return {str(one.status): _well(one), **told}


def _well(one: Operation) -> dict[str, Any]:
    if one.status == 204:
        return {"description": "Done"}
    content = {media: {"schema": {"type": "string"}} for media in one.media if media != JSON}
    if JSON in one.media:
        content[JSON] = {"schema": _answer(one.answers)}
    told: dict[str, Any] = {
        "description": "So it is" if one.method == "GET" else "Accepted",
        "content": content,
    }
    if getattr(one.answers, "__origin__", None) is list:
        told["headers"] = {"Link": _LINK}
    return told


def _answer(answers: Any) -> dict[str, Any]:
    model = _model(answers)
    if model is None:
        return TypeAdapter(answers).json_schema()
    ref = {"$ref": _REF.format(model=model.__name__)}
    return ref if answers is model else {"type": "array", "items": ref}


def documentation(operations: Iterable[Operation]) -> str:
    """The table of operations in docs/api.md."""
    table = sorted(operations, key=lambda one: (one.template, one.method))
    rows = [f"| `{one.method} {one.template}` | {one.rule.needs} | {one.summary} |" for one in table]
    return "\n".join(["| request | needs | gives, or does |", "|---|---|---|", *rows]) + "\n"
