"""Git over smart HTTP: `git http-backend` as a CGI child, streamed in and out."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.github.access import NOBODY, Principal, Refusal, by_token, may, sees
from tests.github.git import environment
from tests.github.model import Repository
from tests.github.pushes import received
from tests.github.world import World

CHUNK = 64 * 1024
CHALLENGE = {"WWW-Authenticate": 'Basic realm="GitHub"'}
PASSED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


async def serve_git(world: World, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request below /{owner}/{repo}.git/."""
    request = Request(scope, receive)
    owner, _, rest = request.url.path.lstrip("/").partition("/")
    name, _, service_path = rest.partition(".git/")
    pushing = "git-receive-pack" in (service_path, request.query_params.get("service"))
    found = world.find(owner, name)
    moved = None if found else world.moved(owner, name)
    repository = found or moved
    refusal, principal = _admit(world, request, repository, pushing)
    if refusal is None and moved:
        location = f"{world.url}/{moved.full_name}.git/{service_path}?{request.url.query}"
        refusal = Response(status_code=301, headers={"Location": location})
    if refusal is not None or repository is None:
        await (refusal or Response("Not Found", 404))(scope, receive, send)
        return
    path = f"/{repository.bare.path.name}/{service_path}"
    if service_path != "git-receive-pack":
        await _run(world, request, principal, path, send)
        await send({"type": "http.response.body", "body": b""})
        return
    async with world.locks[repository.id]:
        before = await repository.bare.refs()
        await _run(world, request, principal, path, send)
        after = await repository.bare.refs()
    await received(world, repository, before, after, principal.actor)
    await send({"type": "http.response.body", "body": b""})


def _admit(
    world: World, request: Request, repository: Repository | None, pushing: bool
) -> tuple[Response | None, Principal]:
    password = _password(request.headers.get("authorization"))
    try:
        principal = NOBODY if password is None else by_token(world, password)
    except Refusal as refusal:
        return Response(refusal.message, refusal.status), NOBODY
    if principal is None:
        return Response("Invalid username or token.", 401, CHALLENGE), NOBODY
    if principal is NOBODY and (pushing or repository is None or repository.private):
        return Response("Authentication required.", 401, CHALLENGE), NOBODY
    if repository is None or not sees(principal, repository):
        return Response("Repository not found.", 404), NOBODY
    if pushing and repository.archived:
        return Response("This repository was archived so it is read-only.", 403), NOBODY
    level = "write" if pushing else "read"
    if not may(principal, repository, ("contents",), level, "write" if pushing else "read"):
        text = f"Permission to {repository.full_name}.git denied to {principal.name}."
        return Response(text, 403), NOBODY
    return None, principal


def _password(header: str | None) -> str | None:
    """The password of a basic authentication: any user name will do, even the token itself."""
    if header is None:
        return None
    try:
        user, _, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return user if password in ("", "x-oauth-basic") else password


async def _run(world: World, request: Request, principal: Principal, path: str, send: Send) -> None:
    """Everything up to, but without, the end of the answer's body."""
    headers = request.headers
    variables = {
        "GIT_PROJECT_ROOT": str(world.root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": path,
        "QUERY_STRING": request.url.query,
        "REQUEST_METHOD": request.method,
        "REMOTE_ADDR": "127.0.0.1",
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        **{variable: headers[name] for name, variable in PASSED.items() if name in headers},
        **({"REMOTE_USER": principal.user.login} if principal.user else {}),
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env=environment(**variables),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    feeding = asyncio.create_task(_feed(request.stream(), process.stdin))
    try:
        head = await process.stdout.readuntil(b"\r\n\r\n")
        await send(_start(head))
        while chunk := await process.stdout.read(CHUNK):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await process.wait()
    finally:
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _feed(body: AsyncIterator[bytes], stdin: asyncio.StreamWriter) -> None:
    with suppress(BrokenPipeError, ConnectionResetError, ClientDisconnect):
        async for chunk in body:
            stdin.write(chunk)
            await stdin.drain()
    stdin.close()
    with suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


def _start(head: bytes) -> dict[str, object]:
    """The ASGI start of an answer, from a CGI script's header."""
    status, headers = 200, []
    for line in head.decode("latin-1").strip().split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers.append((name.lower().encode("latin-1"), value.strip().encode("latin-1")))
    return {"type": "http.response.start", "status": status, "headers": headers}
