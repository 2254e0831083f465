"""Requests, answers and webhooks, held to GitHub's published OpenAPI description.

The description comes with the npm package that package.json beside this file names.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from openapi_schema_validator import OAS30Validator, oas30_format_checker
from referencing import Registry, Resource, Specification

from tests.github.model import Json

INSTALLED = Path(__file__).parent / "node_modules/@octokit/openapi/generated/api.github.com.json"
ROOT = "urn:github"
# What the description says by examples only: these take slashes.
SLASHED = frozenset({"path", "ref", "branch", "basehead", "environment_name"})
JSON_TYPE = "application/json"
# Any GET may be answered so, and the description says it of a few only.
UNMODIFIED = 304
LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class Operation:
    """One method of one path: the place of its text in the description, and the path as an expression."""

    method: str
    template: str
    pattern: re.Pattern[str]
    text: Json
    pointer: str


@dataclass
class Contract:
    """`violations` collects what did not hold, one readable line each."""

    description: Json
    violations: list[str] = field(default_factory=list)
    _operations: dict[str, list[Operation]] = field(default_factory=dict)
    _validators: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Contract":
        return cls(json.loads(path.read_bytes(), object_hook=_nullable))

    @classmethod
    def find(cls) -> "Contract | None":
        """The contract by the installed description, if there is one."""
        return cls.load(INSTALLED) if INSTALLED.exists() else None

    def __post_init__(self) -> None:
        _correct(self.description)
        resource: Resource[Any] = Specification.OPAQUE.create_resource(self.description)
        self._registry: Registry[Any] = Registry().with_resource(ROOT, resource)
        for template, methods in self.description["paths"].items():
            for method, text in methods.items():
                pointer = f"{ROOT}#/paths/{_escaped(template)}/{method}"
                operation = Operation(method.upper(), template, _pattern(template), text, pointer)
                self._operations.setdefault(method.upper(), []).append(operation)
        for operations in self._operations.values():
            operations.sort(key=_precision)

    def check_request(self, method: str, path: str, query: Mapping[str, str], body: Any) -> None:
        operation, params = self._operation(method, path)
        where = f"{method} {path}"
        if operation is None:
            self.violations.append(f"{where}: GitHub has no such endpoint")
            return
        self._check_parameters(where, operation, params, query)
        content = operation.text.get("requestBody", {}).get("content", {})
        if JSON_TYPE in content:
            self._check_body(where, operation, content[JSON_TYPE]["schema"], body)
        elif body is not None:
            self.violations.append(f"{where}: takes no body")

    def check_answer(self, method: str, path: str, status: int, content_type: str, body: Any) -> None:
        operation, _ = self._operation(method, path)
        if operation is None:
            return
        where = f"{method} {path} -> {status}"
        responses = operation.text["responses"]
        if str(status) not in responses:
            known = status == UNMODIFIED or "message" in (body if isinstance(body, dict) else {})
            if not known:
                self.violations.append(f"{where}: not an answer that GitHub gives")
            return
        pointer = f"{operation.pointer}/responses/{status}"
        response = responses[str(status)]
        if "$ref" in response:
            pointer = ROOT + response["$ref"]
            response = self._at(response["$ref"])
        schemas = response.get("content", {})
        plain_json = content_type.partition(";")[0] == JSON_TYPE
        if plain_json and JSON_TYPE in schemas:
            self._validate(where, f"{pointer}/content/{_escaped(JSON_TYPE)}/schema", body)
        elif plain_json and body is not None and not schemas and status < 300:
            self.violations.append(f"{where}: has no body")

    def check_webhook(self, event: str, payload: Json) -> None:
        """`payload` against the schema of its event and action."""
        action = payload.get("action")
        where = f"webhook {event}" + (f" {action}" if action else "")
        name = "-".join([event, *([action] if action else [])]).replace("_", "-")
        if name not in self.description["x-webhooks"]:
            self.violations.append(f"{where}: GitHub has no such event")
            return
        inside = f"x-webhooks/{name}/post/requestBody/content/{_escaped(JSON_TYPE)}/schema"
        self._validate(where, f"{ROOT}#/{inside}", payload)

    def _operation(self, method: str, path: str) -> tuple[Operation | None, dict[str, str]]:
        # /repositories/{id} is where GitHub redirects to; its own description leaves it out.
        path = re.sub(r"^/repositories/\d+", "/repos/owner/repo", path)
        path = re.sub(r"^(/repos/[^/]+/[^/]+/contents)$", r"\1/", path)
        for operation in self._operations.get(method, []):
            if found := operation.pattern.fullmatch(path):
                return operation, {name: unquote(value) for name, value in found.groupdict().items()}
        return None, {}

    def _check_parameters(
        self, where: str, operation: Operation, params: Mapping[str, str], query: Mapping[str, str]
    ) -> None:
        allowed: dict[str, tuple[Json, str]] = {}
        for index, parameter in enumerate(operation.text.get("parameters", [])):
            pointer = f"{operation.pointer}/parameters/{index}"
            if "$ref" in parameter:
                pointer = ROOT + parameter["$ref"]
                parameter = self._at(parameter["$ref"])  # noqa: PLW2901
            allowed[f"{parameter['in']} {parameter['name']}"] = (parameter, pointer)
        given = {f"query {name}": value for name, value in query.items()}
        given |= {f"path {name}": value for name, value in params.items()}
        for name, value in given.items():
            if name in allowed:
                parameter, pointer = allowed[name]
                typed = _typed(value, self._resolved(parameter["schema"]).get("type"))
                self._validate(f"{where}: {name}", f"{pointer}/schema", typed)
            elif name.startswith("query "):
                self.violations.append(f"{where}: there is no {name}")
        missing = [name for name, (each, _) in allowed.items() if each.get("required") and name not in given]
        self.violations.extend(f"{where}: {name} is missing" for name in missing)

    def _check_body(self, where: str, operation: Operation, schema: Json, body: Any) -> None:
        if body is None:
            if operation.text["requestBody"].get("required") and self._resolved(schema).get("required"):
                self.violations.append(f"{where}: has no body")
            return
        pointer = f"{operation.pointer}/requestBody/content/{_escaped(JSON_TYPE)}/schema"
        self._validate(f"{where}: body", pointer, body)
        known = self._resolved(schema).get("properties")
        if known and isinstance(body, dict):
            unknown = sorted(body.keys() - known.keys())
            self.violations.extend(f"{where}: body: there is no {name!r}" for name in unknown)

    def _resolved(self, schema: Json) -> Json:
        return self._at(schema["$ref"]) if "$ref" in schema else schema

    def _at(self, reference: str) -> Json:
        found = self.description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return found

    def _validate(self, where: str, pointer: str, value: Any) -> None:
        if pointer not in self._validators:
            self._validators[pointer] = OAS30Validator(
                {"$ref": pointer}, registry=self._registry, format_checker=oas30_format_checker
            )
        for error in self._validators[pointer].iter_errors(value):
            for one in _roots(error):
                place = "".join(f"[{part!r}]" for part in one.absolute_path)
                self.violations.append(f"{where}: {place} {one.message[:LONGEST_MESSAGE]}".rstrip())


def _nullable(schema: Json) -> Json:
    """The description lists no null in an enum that it calls nullable, and means that it may be null."""
    values = schema.get("enum")
    if schema.get("nullable") is True and isinstance(values, list) and None not in values:
        values.append(None)
    return schema


def _correct(description: Json) -> None:
    """Where the description contradicts itself and GitHub, the right half counts.

    A listed installation belongs to a user and an enterprise at once (allOf), a single one to either.
    A directory is an array, which has no property to discriminate by. A pull request whose fork was deleted
    has no head repository any more.
    """
    paths = description["paths"]
    installations = paths["/app/installations"]["get"]["responses"]["200"]["content"][JSON_TYPE]["schema"]
    installations["items"] = {"$ref": "#/components/schemas/installation"}
    contents = paths["/repos/{owner}/{repo}/contents/{path}"]["get"]["responses"]["200"]["content"]
    contents[JSON_TYPE]["schema"].pop("discriminator", None)
    for name in ("pull-request", "pull-request-simple", "webhooks_pull_request_5"):
        head = description["components"]["schemas"][name]["properties"]["head"]["properties"]
        if "anyOf" not in head["repo"]:
            head["repo"] = {"anyOf": [head["repo"], {"enum": [None]}]}


def _roots(error: Any) -> Iterator[Any]:
    """What is really wrong below an anyOf or oneOf: the errors of the branch that went deepest."""
    if not error.context:
        yield error
        return
    deepest = max(error.context, key=lambda one: len(one.absolute_path))
    branch = deepest.schema_path[0]
    for one in error.context:
        if one.schema_path[0] == branch:
            yield from _roots(one)


def _escaped(part: str) -> str:
    """One part of a JSON pointer within a URI; braces are percent-encoded."""
    escaped = part.replace("~", "~0").replace("/", "~1")
    return escaped.replace("{", "%7B").replace("}", "%7D")


def _pattern(template: str) -> re.Pattern[str]:
    def group(found: re.Match[str]) -> str:
        name = found[1]
        # The path of a file may be empty: the root.
        part = ".*" if name == "path" else ".+" if name in SLASHED else "[^/]+"
        return f"(?P<{name.replace('-', '_')}>{part})"

    return re.compile(re.sub(r"\\\{([^}]+)\\\}", group, re.escape(template).replace(r"\-", "-")))


def _precision(operation: Operation) -> tuple[bool, int]:
    """The more precise template first: no slashes inside a parameter, then fewer parameters."""
    names = re.findall(r"\{([^}]+)\}", operation.template)
    return bool(SLASHED & set(names)) and operation.template.endswith("}"), len(names)


def _typed(text: str, kind: str | None) -> Any:
    if kind == "integer" and text.lstrip("-").isdigit():
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text
