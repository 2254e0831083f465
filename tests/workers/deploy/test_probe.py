"""What a look from outside finds of servers of all kinds, and what it tells people to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.parts import certificates
from workers.contract.messages import Probe
from workers.deploy import names as deploy_names
from workers.deploy import probe as probing
from workers.deploy import proving
from workers.deploy.probe import Seen, asker, look
from workers.deploy.proving import Proving
from workers.engine.engine import Container
from workers.engine.listening import Listener, advice, read

Serving = Callable[..., Coroutine[Any, Any, str]]
ANY = "0.0.0.0"  # noqa: S104
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
async def serving() -> AsyncIterator[Serving]:
    """Starts a server that says `first`, then `on` again and again; gives its address."""
    servers: list[asyncio.Server] = []
    talking: set[asyncio.Task[None]] = set()

    async def serving(
        first: bytes, on: bytes = b"", every: float = 0, context: ssl.SSLContext | None = None
    ) -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            talking.add(task := asyncio.current_task())  # type: ignore[arg-type]
            try:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(first)
                while on:
                    writer.write(on)
                    await writer.drain()
                    await asyncio.sleep(every)
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                talking.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        servers.append(server)
        return "{}:{}".format(*server.sockets[0].getsockname())

    yield serving
    for server in servers:
        server.close()
    for task in talking:
        task.cancel()
    await asyncio.gather(*talking, return_exceptions=True)


async def seen(address: str, **more: Any) -> Seen:
    async with asker() as client:
        return await look(client, address, Probe.model_validate({"timeout": 9, "interval": 1, **more}))


@pytest.mark.parametrize(
    ("answer", "more", "healthy", "what", "todo"),
    [
        ("302 Found\r\nLocation: /login", {}, True, "answered 302", ""),
        (
            "302 Found\r\nLocation: /login",
            {"status": 200},
            False,
            "answered 302",
            "leads to /login: name a path",
        ),
        ("401 No", {"status": 200}, False, "answered 401", "Write `status: 401`"),
        ("500 Oh", {}, False, "answered 500", "Its log says why"),
        ("500 Oh", {"status": 200}, False, "answered 500", "Its log says why"),
        ("200 OK", {"path": "/a\x00b"}, False, "cannot be asked", "give it a path"),
    ],
)
async def test_a_wrong_answer_says_what_to_write_instead(
    serving: Serving, answer: str, more: dict[str, Any], healthy: bool, what: str, todo: str
) -> None:
    found = await seen(await serving(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode()), **more)
    assert (found.healthy, what in found.what) == (healthy, True), found
    assert todo in found.todo
    assert bool(todo) == bool(found.todo)


async def test_a_server_with_tls_is_told_so(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_STAYS_OPEN", 60.0)
    files = certificates.server("localhost", certificates.authority()).write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["certificate"], files["key"])
    found = await seen(await serving(OK, context=context))
    assert not found.healthy
    assert "it speaks TLS" in found.what
    assert "plain HTTP" in found.todo


async def test_a_page_that_never_ends_is_an_answer(serving: Serving) -> None:
    found = await seen(await serving(OK + b"\r\n", on=b"for ever and ever\n"))
    assert found == Seen(True, "GET / answered 200")


@pytest.mark.parametrize(
    ("first", "on"),
    [(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), (OK, b"X-More: to come\r\n")],
    ids=["hints", "headers"],
)
async def test_headers_that_never_end_are_given_up(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, first: bytes, on: bytes
) -> None:
    monkeypatch.setattr(probing, "_ANSWER", 0.5)
    async with asyncio.timeout(60):
        found = await seen(await serving(first, on=on, every=0.1), path="/up")
    assert not found.healthy
    assert "had no answer" in found.what


async def test_what_speaks_another_protocol_is_known_as_such(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "_ANSWER", 1.5)
    monkeypatch.setattr(probing, "_STAYS_OPEN", 10.0)  # which no answer of this server takes
    address = await serving(b"-ERR unknown command 'GET'\r\n", on=b"-ERR\r\n", every=0.05)
    found = await seen(address)
    assert (found.healthy, found.http) == (True, False)
    strict = await seen(address, path="/up")
    assert not strict.healthy


async def test_a_release_of_another_protocol_is_asked_in_http_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "_PAUSE", 0.02)
    heard: list[bytes] = []

    async def database(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read(100)
        heard.append(said)
        if said:
            writer.write(b"E\x00\x00\x00\x01invalid startup packet")
        writer.close()

    async with await asyncio.start_server(database, "127.0.0.1", 0) as server:
        found = Proving(news=lambda: None)
        found.releases = frozenset({"r1"})
        probe = Probe(timeout=9, interval=1).model_dump_json()
        found.containers = [
            Container(
                "id", "name", {deploy_names.RELEASE: "r1", deploy_names.PROBE: probe}, "running", 0, 0, False,
                address="{}:{}".format(*server.sockets[0].getsockname()),
            )
        ]  # fmt: skip
        running = asyncio.create_task(found.run())
        async with asyncio.timeout(60):
            while len([one for one in heard if not one]) < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert found.failing(found.containers[0]) == ""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert len([one for one in heard if one.startswith(b"GET")]) == 1


TABLES = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00007F:A1B2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0
  sl  local_address                         remote_address                        st tx_queue rx_queue
   0: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0
   1: 00000000000000000000000001000000:1F91 00000000000000000000000000000000:0000 0A 00000000:00000000 00:0
   nonsense: zz:zz 0A
"""


def test_the_kernels_tables_say_where_a_container_listens() -> None:
    assert read(TABLES) == {Listener("127.0.0.1", 8080), Listener("::", 3000), Listener("::1", 8081)}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([Listener("127.0.0.1", 80)], "It listens on 127.0.0.1:80 alone"),
        ([Listener("::1", 80)], "It listens on [::1]:80 alone"),
        ([Listener("::", 80)], "It listens on [::]:80 for IPv6 alone"),
        ([Listener("::", 3000), Listener(ANY, 3000)], "It listens on 3000: write `port: 3000`"),
        ([Listener("127.0.0.1", 9000)], ""),
        ([Listener(ANY, 80)], ""),
        ([], "It listens nowhere"),
    ],
)  # fmt: skip
def test_where_an_app_listens_makes_what_to_do(found: list[Listener], words: str) -> None:
    told = advice(80, found)
    assert told.startswith(words)
    assert bool(told) == bool(words)
