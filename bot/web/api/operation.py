"""An operation of the API: a row of the table, and how a request becomes its answer."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode
from uuid import uuid4

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from bot.web.api.fields import Signed
from bot.web.guard import who
from bot.web.rules import Rule
from config.errors import sentences

JSON = "application/json"
_MOST_DIGITS = 18
_NUMBERS = {"limit", "before", "from", "tail", "attempt", "compare"}  # that may be left empty, as ever

B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True)
class Call:
    """A request, read as its operation says. `key` is the same for a request that is sent again."""

    request: Request
    query: Any = None
    body: Any = None
    key: str = ""

    @property
    def path(self) -> dict[str, Any]:
        return self.request.path_params


@dataclass(frozen=True)
class Part:
    """A part of a list, and the cursor of the part that follows it, if there is one."""

    items: Sequence[Any]
    after: str | None = None


@dataclass(frozen=True)
class Operation:
    """What is asked how, by whom, and what it gives."""

    method: str
    path: str  # as Starlette's, below /api/v1
    rule: Rule
    summary: str
    does: Callable[[Call], Awaitable[Any]] = field(repr=False)
    answers: Any  # a model, or a list of one
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    status: int = 200
    media: tuple[str, ...] = (JSON,)  # of which all but JSON is text
    makes: bool = False  # something: then an Idempotency-Key counts

    @property
    def names(self) -> dict[str, str]:
        """What stands in the path ▸ its converter, `int` or empty."""
        parts = [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
        return {name: kind for name, _, kind in (part.partition(":") for part in parts)}

    @property
    def template(self) -> str:
        """The path without converters."""
        return self.path.replace(":int", "")

    @property
    def name(self) -> str:
        """One for each."""
        return f"{self.method.lower()}{self.template.replace('/', '_').replace('{', '').replace('}', '')}"

    def call(self, request: Request, raw: bytes) -> Call:
        """What is asked. Raises HTTPException."""
        given = {name: value for name, value in request.query_params.items() if value or name not in _NUMBERS}
        query = checked(self.query, given) if self.query else None
        body = checked_json(self.body, raw or b"{}") if self.body else None
        if isinstance(body, Signed):
            body = _by(request, body)
        return Call(request, query, body, request.headers.get("idempotency-key") or uuid4().hex)

    def answer(self, request: Request, given: Any) -> Response:
        """What `does` gave, as a response: unchanged things are not told again."""
        if isinstance(given, Response):
            return given
        headers = {"Cache-Control": "private, no-cache"}
        if isinstance(given, Part):
            if given.after is not None:
                query = {**request.query_params, "cursor": given.after}
                headers["Link"] = f'<{request.url.path}?{urlencode(query)}>; rel="next"'
            given = given.items
        if self.status == 204:
            return Response(status_code=204)
        text = TypeAdapter(self.answers).dump_json(given, by_alias=True)
        if self.method == "GET":
            headers["ETag"] = f'"{hashlib.sha256(text).hexdigest()[:32]}"'
            known = [
                one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")
            ]
            if headers["ETag"] in known or "*" in known:
                return Response(status_code=304, headers=headers)
        return Response(text, self.status, headers, JSON)


def _by(request: Request, body: Signed) -> Signed:
    """The body as who asks gives it: only the API's own token speaks for others. Raises HTTPException."""
    known = who(request)
    if known is None or known.speaks:
        return body
    if "actor" in body.model_fields_set and body.actor != known.name:
        raise HTTPException(
            403, f"this token is {known.name}'s, and orders for nobody else: leave `actor` out"
        )
    return body.model_copy(update={"actor": known.name})


def whose(request: Request, said: Signed) -> str:
    """For whom, where that is somebody else than who asks."""
    known = who(request)
    return f", for {said.actor}" if known and known.speaks and said.actor != known.name else ""


def path_of(request: Request, names: dict[str, str]) -> None:
    """Numbers of the path as numbers. What can be no row's is none: raises HTTPException."""
    found = request.path_params
    for name, kind in names.items():
        value = str(found[name])
        if "\0" in value or len(value) > 300:
            raise HTTPException(404, "nothing has such a name")
        if kind == "int":
            if not (value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS):
                raise HTTPException(404, f"{value[:40]!r} is no number of anything here")
            found[name] = int(value)


def checked(model: type[B], given: Any) -> B:
    """What was given, as `model` has it. Raises HTTPException."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _wrong(error) from None


def checked_json(model: type[B], given: bytes) -> B:
    """The same of JSON."""
    try:
        return model.model_validate_json(given)
    except ValidationError as error:
        if any(item["type"] == "json_invalid" for item in error.errors()):
            raise HTTPException(400, "the body is not JSON") from None
        raise _wrong(error) from None


def _wrong(error: ValidationError) -> HTTPException:
    keys, said = sentences(error, 1)[0]
    where = ".".join(map(str, keys)) or "the body"
    return HTTPException(400, f"{where}: {said}")
