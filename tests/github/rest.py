"""One API request from its bytes to its answer: faults, access, route, ETag, rate limit, log, contract."""

import asyncio
import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from tests.github.access import NOBODY, Principal, Refusal, authenticate, may, sees
from tests.github.api import ROUTES
from tests.github.api.routing import Answer, Call, Route
from tests.github.contract import Contract
from tests.github.faults import Fault
from tests.github.model import Json, Repository
from tests.github.world import LoggedRequest, World

PREFIX = "/api/v3"
DOCUMENTATION = "https://docs.github.com/rest"
REFUSED: Mapping[str, tuple[int, str]] = {
    "nobody": (401, "Requires authentication"),
    "user": (401, "A JSON web token could not be decoded"),
    "app": (403, "Resource not accessible by integration"),
    "installation": (403, "Resource not accessible by integration"),
}


@dataclass
class Exchange:
    """A request while it is answered; `path` is below /api/v3, as it came, percent-encoding included."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes
    principal: Principal = NOBODY

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


async def serve_api(
    world: World, contract: Contract | None, scope: Scope, receive: Receive, send: Send
) -> None:
    request = Request(scope, receive)
    exchange = Exchange(
        request.method,
        scope["raw_path"].decode("ascii").removeprefix(PREFIX),
        dict(request.query_params),
        dict(request.headers),
        await request.body(),
    )
    fault = world.faults.take(exchange.method, exchange.path)
    if fault:
        await hold(fault)
    answer = await _answer(world, exchange, fault)
    dropped = fault is not None and fault.drop
    _log(world, exchange, None if dropped else answer.status)
    if contract:
        spoiled = fault is not None and (fault.status is not None or fault.body is not None)
        _check(contract, exchange, None if spoiled else answer)
    if dropped:
        await drop(receive, send)
        return
    await _send(world, exchange, answer, send)


async def hold(fault: Fault) -> None:
    """What a fault does before anything else."""
    await asyncio.sleep(fault.delay)
    if fault.before:
        await fault.before()


async def drop(receive: Receive, send: Send) -> None:
    """Close the connection without an answer: ASGI has no word for it, so uvicorn's transport is taken."""
    cast("Any", send).__self__.transport.abort()
    message: Message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


async def _answer(world: World, exchange: Exchange, fault: Fault | None) -> Answer:
    if fault and fault.status is not None:
        return Answer(fault.body, fault.status, fault.headers)
    try:
        answer = _revalidate(exchange, await _work(world, exchange))
    except Refusal as refusal:
        answer = Answer(_error(refusal), refusal.status)
    if fault and not fault.drop:
        body = answer.body if fault.body is None else fault.body
        return Answer(body, answer.status, {**answer.headers, **fault.headers})
    return answer


async def _work(world: World, exchange: Exchange) -> Answer:
    if not exchange.headers.get("user-agent"):
        raise Refusal(403, "Request forbidden by administrative rules. Please add a User-Agent header.")
    exchange.principal = authenticate(world, exchange.headers.get("authorization"))
    _count(world, exchange)
    path, moved = _located(world, exchange.path)
    if moved:
        rest = "/".join(exchange.path.split("/")[4:])
        return _redirect(world, exchange, moved, rest)
    route, params = _route(exchange.method, path)
    call = Call(
        world=world,
        principal=exchange.principal,
        path=exchange.path,
        params=params,
        query=exchange.query,
        headers=exchange.headers,
        body=_body(exchange),
        found=world.find(params["owner"], params["repo"]) if "repo" in params else None,
    )
    _admit(call, route)
    return await route.endpoint(call)


def _count(world: World, exchange: Exchange) -> None:
    name = exchange.principal.name
    if exchange.path != "/rate_limit":
        world.used[name] += 1
    if world.used[name] > world.rate_limit:
        raise Refusal(403, f"API rate limit exceeded for {name}.")


def _located(world: World, path: str) -> tuple[str, Repository | None]:
    """The path by the repository's present name; or the repository that has moved away from this one."""
    first, _, rest = path.lstrip("/").partition("/")
    if first == "repositories":
        number, _, rest = rest.partition("/")
        found = world.repositories.get(int(number) if number.isdigit() else 0)
        if found is None:
            raise Refusal(404, "Not Found")
        return f"/repos/{found.full_name}" + (f"/{rest}" if rest else ""), None
    if first == "repos":
        owner, name = [*rest.split("/"), ""][:2]
        if world.find(owner, name) is None:
            return path, world.moved(owner, name)
    return path, None


def _redirect(world: World, exchange: Exchange, repository: Repository, rest: str) -> Answer:
    if not sees(exchange.principal, repository) and exchange.principal.kind != "app":
        raise Refusal(404, "Not Found")
    url = f"{world.api_url}/repositories/{repository.id}" + (f"/{rest}" if rest else "")
    if exchange.query:
        url += "?" + "&".join(f"{name}={value}" for name, value in exchange.query.items())
    body = {"message": "Moved Permanently", "url": url, "documentation_url": DOCUMENTATION}
    # GitHub keeps the method of a write with 307.
    return Answer(body, 301 if exchange.method == "GET" else 307, {"Location": url})


def _route(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route in ROUTES:
        params = route.match(path) if route.method == method else None
        if params is not None:
            return route, params
    raise Refusal(404, "Not Found")


def _body(exchange: Exchange) -> Any:
    try:
        return exchange.body
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None


def _admit(call: Call, route: Route) -> None:
    principal = call.principal
    if principal.kind not in route.who:
        raise Refusal(*REFUSED[principal.kind])
    if "repo" not in call.params or principal.kind == "app":
        return
    if not sees(principal, call.repository):
        raise Refusal(404, "Not Found")
    if not may(principal, call.repository, route.permissions, route.level, route.role):
        kind = "integration" if principal.kind == "installation" else "personal access token"
        raise Refusal(403, f"Resource not accessible by {kind}")
    if call.repository.archived and route.method != "GET":
        raise Refusal(403, "Repository was archived so is read-only.")


def _error(refusal: Refusal) -> Json:
    body: Json = {"message": refusal.message}
    if refusal.errors:
        body["errors"] = refusal.errors
    return {**body, "documentation_url": DOCUMENTATION, "status": str(refusal.status)}


def _revalidate(exchange: Exchange, answer: Answer) -> Answer:
    """Give a GET its ETag, or a 304 where the asker has that one."""
    if exchange.method != "GET" or answer.status != 200:
        return answer
    content = _content(answer)
    digest = hashlib.sha256(content + exchange.headers.get("accept", "").encode()).hexdigest()
    etag = f'W/"{digest}"'
    headers = {**answer.headers, "ETag": etag}
    if etag.removeprefix("W/") in exchange.headers.get("if-none-match", ""):
        return Answer(None, 304, headers)
    return Answer(answer.body, answer.status, headers)


def _content(answer: Answer) -> bytes:
    if answer.body is None:
        return b""
    return answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()


def _log(world: World, exchange: Exchange, status: int | None) -> None:
    try:
        body = exchange.body
    except ValueError:
        body = exchange.raw
    if status == 304:
        world.used[exchange.principal.name] -= 1
    headers = {name: value for name, value in exchange.headers.items() if name != "authorization"}
    name = exchange.principal.name
    entry = LoggedRequest(exchange.method, exchange.path, exchange.query, headers, body, status, name)
    world.requests.append(entry)
    world.feed.touch()


def _check(contract: Contract, exchange: Exchange, answer: Answer | None) -> None:
    try:
        body = exchange.body
    except ValueError:
        contract.violations.append(f"{exchange.method} {exchange.path}: the body is not JSON")
        return
    contract.check_request(exchange.method, exchange.path, exchange.query, body)
    if answer:
        shown = None if isinstance(answer.body, bytes) else json.loads(_content(answer) or b"null")
        kind = str(answer.headers.get("Content-Type", "application/json"))
        contract.check_answer(exchange.method, exchange.path, answer.status, kind, shown)


async def _send(world: World, exchange: Exchange, answer: Answer, send: Send) -> None:
    used = world.used[exchange.principal.name]
    content = _content(answer)
    headers = {
        "Server": "github.com",
        "Date": format_datetime(world.now(), usegmt=True),
        "Content-Type": "application/json; charset=utf-8",
        "Cache-Control": "private, max-age=60, s-maxage=60",
        "X-GitHub-Media-Type": "github.v3; format=json",
        "X-GitHub-Request-Id": uuid.uuid4().hex[:28].upper(),
        "X-RateLimit-Limit": str(world.rate_limit),
        "X-RateLimit-Remaining": str(max(world.rate_limit - used, 0)),
        "X-RateLimit-Used": str(used),
        "X-RateLimit-Reset": str(int(world.started.timestamp()) + 3600),
        "X-RateLimit-Resource": "core",
        "Content-Length": str(len(content)),
    }
    lowered = {name.lower(): value for name, value in (*headers.items(), *answer.headers.items())}
    if answer.status in (204, 304):
        del lowered["content-length"], lowered["content-type"]
    start = [(name.encode("latin-1"), str(value).encode("latin-1")) for name, value in lowered.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": start})
    await send({"type": "http.response.body", "body": content})
