"""From a method and a path to the function that answers, and what such a function is given."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlencode

from tests.github.access import Principal, Refusal
from tests.github.model import Json, Permission, Repository
from tests.github.world import World

T = TypeVar("T")
Level = Literal["read", "write"]
TYPES: Mapping[type, str] = {str: "string", bool: "boolean", int: "integer", list: "array", dict: "object"}


@dataclass(frozen=True)
class Answer:
    """`body` None: there is none; bytes go out as they are, anything else as JSON."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request that has been let in."""

    world: World
    principal: Principal
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    found: Repository | None

    @property
    def repository(self) -> Repository:
        if self.found is None:
            raise Refusal(404, "Not Found")
        return self.found

    def number(self, name: str) -> int:
        text = self.params[name]
        if not text.isdigit():
            raise Refusal(404, "Not Found")
        return int(text)

    def field(self, name: str, kind: type[T], default: T, *, values: Iterable[str] = ()) -> T:
        """One optional field of the body; null counts as absent."""
        value = self.fields.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Refusal(422, f"Invalid request.\n\nFor '{name}', {value!r} is not {TYPES[kind]}.")
        allowed = tuple(values)
        if allowed and value not in allowed:
            shown = ", ".join(allowed)
            raise Refusal(422, f"Invalid request.\n\nFor '{name}', {value!r} is not a member of [{shown}].")
        return value

    def required(self, name: str, kind: type[T], *, values: Iterable[str] = ()) -> T:
        if self.fields.get(name) is None:
            raise Refusal(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
        return self.field(name, kind, kind(), values=values)

    @property
    def fields(self) -> Json:
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise Refusal(422, "Invalid request.\n\nThe body is not an object.")
        return self.body

    def size(self) -> int:
        """The number of items on a page."""
        text = self.query.get("per_page", "30")
        return min(max(int(text), 1), 100) if text.isdigit() else 30

    def page(self, items: Sequence[T]) -> tuple[Sequence[T], dict[str, str]]:
        """The items of the page that is asked for, and the Link header where there are others."""
        size = self.size()
        text = self.query.get("page", "1")
        page = max(int(text), 1) if text.isdigit() else 1
        last = max((len(items) + size - 1) // size, 1)
        numbers: dict[str, int] = {}
        if page > 1:
            numbers |= {"prev": page - 1, "first": 1}
        if page < last:
            numbers |= {"next": page + 1, "last": last}
        links = [self.link(rel, page=str(number)) for rel, number in numbers.items()]
        return items[(page - 1) * size : page * size], {"Link": ", ".join(links)} if links else {}

    def link(self, rel: str, **change: str) -> str:
        query = urlencode({**self.query, **change})
        return f'<{self.world.api_url}{self.path}?{query}>; rel="{rel}"'

    def listing(self, items: Sequence[T], shape: Callable[[World, T], Json]) -> Answer:
        shown, headers = self.page(items)
        return Answer([shape(self.world, one) for one in shown], headers=headers)


Endpoint = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True)
class Route:
    """`permissions` are those of which an installation needs one; `who` may call it at all."""

    method: str
    template: str
    endpoint: Endpoint
    who: frozenset[str]
    permissions: tuple[str, ...]
    level: Level
    role: Permission
    pattern: re.Pattern[str]

    def match(self, path: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


class Routes(list[Route]):
    def on(
        self,
        method: str,
        template: str,
        *permissions: str,
        level: Level | None = None,
        role: Permission | None = None,
        who: Iterable[str] = ("user", "installation"),
    ) -> Callable[[Endpoint], Endpoint]:
        """Answer `method template` by the decorated function; `{name*}` takes slashes too.

        Without `level` and `role` a GET needs read, everything else write.
        """
        usual: Level = "read" if method == "GET" else "write"

        def add(endpoint: Endpoint) -> Endpoint:
            pattern = re.sub(r"\{(\w+)\*\}", r"(?P<\1>.+?)", template)
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
            allowed = frozenset(who)
            self.append(
                Route(
                    method,
                    template,
                    endpoint,
                    allowed,
                    permissions,
                    level or usual,
                    role or level or usual,
                    re.compile(pattern),
                )
            )
            return endpoint

        return add
