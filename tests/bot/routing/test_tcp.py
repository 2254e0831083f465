"""A TCP port stays its process's, and leads to what is live: no connection fails while that changes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlmodel import select

from bot.reports import texts
from bot.routing import tcp_ports
from bot.routing.router import is_free
from bot.routing.tcp_relay import Relay, at_once
from bot.routing.tcp_relays import TcpRelays
from bot.store import tcp_ports as ports
from bot.store.database import Store
from bot.store.tables import Environment, JobState, Release, ReleaseState, TcpPort
from config.errors import ConfigError
from config.settings import Settings
from tests.bot.conftest import Rows
from tests.parts.waiting import free_port
from workers.contract.messages import Kind, now

# Any free port may be one of TCP_PORTS here, so PROXY_PORTS are where no free port is taken from.
BOUND = {"proxy_bind": "127.0.0.1", "proxy_ports": "1024-1100"}
EXPOSED = {
    "processes": {
        "db": {"expose": 5432, "served": False, "replicas": 1},
        "clock": {"expose": None, "served": False, "replicas": 1},
    }
}


@asynccontextmanager
async def container(says: bytes) -> AsyncIterator[str]:
    """Something that says who it is, and then what it hears, until that ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(says)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write(b" bye")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def asked(port: int, data: bytes = b"") -> bytes:
    """What is said to one who says that and has no more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_who_has_no_more_to_say_is_answered_also_after_a_search_for_garbage() -> None:
    heard, go, relay, port = asyncio.Event(), asyncio.Event(), Relay("127.0.0.1"), free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"ask"
        heard.set()
        await go.wait()
        writer.write(b"late")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        assert await relay.lead({port: [f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]}) == {}
        asking = asyncio.create_task(asked(port, b"ask"))
        await heard.wait()
        gc.collect()
        go.set()

        assert await asking == b"late"
        relay.close()


async def until(fulfilled: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fulfilled():  # noqa: ASYNC110 (sockets)
            await asyncio.sleep(0.01)


async def test_an_open_connection_stays_where_it_is_and_the_next_goes_to_the_new_release() -> None:
    relay, port = Relay("127.0.0.1"), free_port()
    async with container(b"old") as old, container(b"new") as new:
        assert await relay.lead({port: [old]}) == {}
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(3) == b"old"
        assert await relay.lead({port: [new]}) == {}
        assert await asked(port, b" hi") == b"new hi bye"
        large = b"x" * 3_000_000
        writer.write(large)
        writer.write_eof()
        assert await reader.read() == large + b" bye"
        writer.close()
        await relay.lead({})
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asked(port)
    relay.close()


async def test_a_container_that_does_not_answer_is_passed_over_and_where_none_does_the_line_is_cut() -> None:
    relay, port, dead = Relay("127.0.0.1"), free_port(), f"127.0.0.1:{free_port()}"
    async with container(b"there") as there:
        await relay.lead({port: [dead, there]})
        assert {await asked(port) for _ in range(4)} == {b"there bye"}
        await relay.lead({port: [dead]})
        with contextlib.suppress(ConnectionError):
            assert await asked(port) == b""
    relay.close()


async def test_connections_beyond_the_limit_are_cut_and_others_are_not() -> None:
    relay, port = Relay("127.0.0.1", each=2), free_port()
    async with container(b"there") as there:
        await relay.lead({port: [there]})
        lines = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, _ in lines:
            assert await reader.readexactly(5) == b"there"
        with contextlib.suppress(ConnectionError):
            assert await asked(port) == b""
        for _, writer in lines:
            writer.close()
        await until(lambda: relay._open.total() == 0)
        assert await asked(port) == b"there bye"
    relay.close()


async def test_a_port_that_something_else_has_is_told_and_the_others_are_listened_at() -> None:
    relay, port = Relay("127.0.0.1"), free_port()
    async with container(b"there") as there:
        taken = int(there.rpartition(":")[2])
        failed = await relay.lead({taken: [there], port: [there]})
        assert list(failed) == [taken]
        assert await asked(port) == b"there bye"
    relay.close()


@pytest.fixture
async def release(rows: Rows) -> Release:
    job = await rows.job(await rows.run(), 2, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    return await rows.release(job, state=ReleaseState.LIVE, live_at=now(), settings=EXPOSED)


async def given(store: Store, release: Release, **told: Any) -> dict[str, str]:
    async with store.transaction() as session:
        await tcp_ports.given(session, release, Settings(**BOUND, **told))
    async with store.reading() as session:
        return await ports.told(session, release)


async def test_a_port_is_the_processs_for_good_and_people_are_told_where(
    store: Store, release: Release
) -> None:
    port = free_port()
    told: dict[str, Any] = {"tcp_ports": f"{port}-{port}", "proxy_host": "shop.example.com"}
    assert await given(store, release, **told) == {"db": f"shop.example.com:{port}"}
    assert await given(store, release, **told) == {"db": f"shop.example.com:{port}"}
    async with store.reading() as session:
        place = await session.get_one(Environment, release.environment_id)
        shown = texts.by_tcp(await ports.told(session, release))
    assert f"(TCP: db at shop.example.com:{port})" in texts.place_line(place, release, (), shown)


async def test_a_services_port_leads_to_its_container_and_goes_with_what_is_live(
    store: Store, release: Release
) -> None:
    port = free_port()
    async with store.transaction() as session:
        row = await session.get_one(Release, release.id)
        row.settings = {"services": {"db": {"image": "postgres:17", "expose": "tcp/5432"}, "cache": {}}}
        row.further = {"db": ["127.0.0.1:22001"]}
        release = row
    told = await given(store, release, tcp_ports=f"{port}-{port}", proxy_host="shop.example.com")
    async with store.reading() as session:
        leads = await ports.leading(session)
    assert (told, leads) == ({"db": f"shop.example.com:{port}"}, {port: ["127.0.0.1:22001"]})


async def test_no_port_that_is_left_is_an_error_before_anything_starts(
    store: Store, release: Release, rows: Rows
) -> None:
    with pytest.raises(ConfigError, match="TCP_PORTS is empty"):
        await given(store, release)
    port = free_port()
    await given(store, release, tcp_ports=f"{port}-{port}")
    job = await rows.job(await rows.run(), 2, Kind.DEPLOY, "pr-7", state=JobState.SUCCEEDED)
    other = await rows.release(job, settings=EXPOSED)
    with pytest.raises(ConfigError, match=r"No TCP port is left .* all of"):
        await given(store, other, tcp_ports=f"{port}-{port}")
    async with store.transaction() as session:  # the first one was a preview, which has ended
        place = await session.get_one(Environment, release.environment_id)
        place.pull_number, place.stopped = 6, True
    assert list(await given(store, other, tcp_ports=f"{port}-{port}")) == ["db"]
    async with container(b"") as there:
        taken = there.rpartition(":")[2]
        with pytest.raises(ConfigError, match="something else"):
            await given(store, release, tcp_ports=f"{taken}-{taken}")


async def test_a_port_of_an_address_of_ipv6_is_free_until_somebody_listens_there(store: Store) -> None:
    with socket.socket(socket.AF_INET6) as taken, socket.socket(socket.AF_INET6) as left:
        taken.bind(("::1", 0))
        taken.listen()
        left.bind(("::1", 0))
        port, free = taken.getsockname()[1], left.getsockname()[1]
    assert is_free(port, "::1")
    with socket.create_server(("::1", port), family=socket.AF_INET6):
        assert not is_free(port, "::1")
        known = {"proxy_bind": "::1", "proxy_ports": "1024-1100"}
        async with store.reading() as session:
            for one, many in ((port, 0), (free, 1)):
                settings = Settings(**known, tcp_ports=f"{one}-{one}")
                assert await tcp_ports.standing(session, settings) == (0, many)


@pytest.mark.parametrize(("files", "many"), [(20_000, 4096), (9216, 4096), (4096, 1536), (256, 96)])
def test_no_more_connections_are_taken_than_there_are_files_for(files: int, many: int) -> None:
    assert at_once(files) == many
    assert 2 * many < files


async def test_no_connection_fails_over_twenty_switches(store: Store, release: Release, rows: Rows) -> None:
    port = free_port()
    await given(store, release, tcp_ports=f"{port}-{port}")
    relays = asyncio.create_task(TcpRelays(store, "127.0.0.1").run())
    answers: list[bytes] = []
    ended = asyncio.Event()

    last = dict.fromkeys(range(4), b"")

    async def ask(who: int) -> None:
        while not ended.is_set():
            last[who] = await asked(port, b"!")
            answers.append(last[who])

    async with contextlib.AsyncExitStack() as stack:
        before: contextlib.AsyncExitStack | None = None
        asking: list[asyncio.Task[None]] = []
        for number in range(20):
            mine = contextlib.AsyncExitStack()
            address = await mine.enter_async_context(container(b"%d" % number))
            await _live(store, rows, release, address)
            if number == 0:
                async with asyncio.timeout(30):
                    while True:
                        with contextlib.suppress(OSError):
                            await asked(port)
                            break
                        await asyncio.sleep(0.05)
                asking = [asyncio.create_task(ask(who)) for who in last]
            await until(lambda number=number: {*last.values()} == {b"%d! bye" % number})  # type: ignore[misc]
            if before is not None:
                await before.aclose()  # the old release has drained
            before = mine
        ended.set()
        await asyncio.gather(*asking)
        if before is not None:
            await stack.enter_async_context(before)
    relays.cancel()
    await asyncio.gather(relays, return_exceptions=True)
    assert {answer.partition(b"!")[2] for answer in answers} == {b" bye"}
    assert {int(answer.partition(b"!")[0]) for answer in answers} == set(range(20))


async def _live(store: Store, rows: Rows, first: Release, address: str) -> None:
    """A release that is switched to, as the router does it."""
    job = await rows.job(await rows.run(), 3, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    async with store.transaction() as session:
        live = select(Release).where(Release.state == ReleaseState.LIVE)
        for old in (await session.exec(live)).all():
            old.state = ReleaseState.RETIRED
        session.add(
            Release(
                environment_id=first.environment_id, run_id=job.run_id, job_id=job.id, sha=job.sha, image="x",
                state=ReleaseState.LIVE, settings=EXPOSED, further={"db": [address]},
            )
        )  # fmt: skip


OWNER = """
import asyncio, sys
from bot.routing.tcp_relays import _child, _told
async def main():
    async with _child("127.0.0.1") as child:
        await _told(child, {int(sys.argv[1]): []})
        print("told", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_the_relay_ends_with_a_bot_that_is_killed() -> None:
    port = free_port()
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(port), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert bot.stdout is not None
        assert await bot.stdout.readline() == b"told\n"
        assert not is_free(port, "127.0.0.1")
    finally:
        bot.kill()
        await bot.wait()
    async with asyncio.timeout(30):
        while not is_free(port, "127.0.0.1"):  # noqa: ASYNC110 (nobody tells of a stranger's end)
            await asyncio.sleep(0.05)


async def test_what_is_not_exposed_any_more_leads_nowhere(store: Store, release: Release) -> None:
    port = free_port()
    await given(store, release, tcp_ports=f"{port}-{port}")
    async with store.transaction() as session:
        row = await session.get_one(Release, release.id)
        row.further = {"db": ["127.0.0.1:22000"]}
    async with store.reading() as session:
        assert await ports.leading(session) == {port: ["127.0.0.1:22000"]}
    async with store.transaction() as session:
        row = await session.get_one(Release, release.id)
        row.settings = {"processes": {"db": {"expose": None}}}
    async with store.reading() as session:
        assert await ports.leading(session) == {}
        assert (await session.exec(select(TcpPort.port))).all() == [port], "it is its own again later"
