"""What is printed reaches a drain in its order, again where it was away, and nobody waits for one that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlmodel import select

from bot.log_drains import drainer as drainers
from bot.log_drains.drainer import Drainer, troubles
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.outputs import Outputs, Said
from bot.store.tables import JobState, LogDrainRow, Release, ReleaseState
from config.settings import Settings
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.log_drains.receiver import Receiver
from workers.contract.messages import Kind, now


@pytest.fixture
async def release(rows: Rows) -> Release:
    job = await rows.job(await rows.run(), 2, Kind.DEPLOY, "production", state=JobState.SUCCEEDED)
    return await rows.release(job, state=ReleaseState.LIVE, live_at=now(), attempt=1, worker="one")


@pytest.fixture
def outputs(tmp_path: Path) -> Outputs:
    return Outputs(tmp_path / "outputs")


@pytest.fixture
async def made(store: Store, outputs: Outputs, tmp_path: Path) -> AsyncIterator[Callable[..., Drainer]]:
    known: list[Drainer] = []

    def drainer(**told: Any) -> Drainer:
        settings = Settings(data_dir=tmp_path, secret_key=SecretStr("k" * 32), **told)
        known.append(Drainer(store, outputs, Secrets(store, Vault(store, settings)), settings))
        return known[-1]

    yield drainer
    for one in known:
        await one.close()


async def printed(outputs: Outputs, release: Release, *texts: str, container: str = "c1") -> None:
    begin = time.time_ns()
    said = [
        Said(begin + number, text, "web", "shop", container, release.id) for number, text in enumerate(texts)
    ]
    await outputs.append(release.environment_id, said)


async def round_of(drainer: Drainer) -> None:
    """A look, and all that it set going; then what there is to say of it."""
    await drainer.look()
    await drainer.idle()
    await drainer.look()
    await drainer.idle()


def at_once(drainer: Drainer) -> None:
    """Whoever failed is tried again now."""
    for progress in drainer._known.values():
        progress.due = 0.0


async def names(store: Store, release: Release, drain: Any) -> None:
    """The release's file has that drain."""
    async with store.transaction() as session:
        row = await session.get(Release, release.id)
        assert row is not None
        row.settings = {**row.settings, "logs": {"drain": drain}}


async def test_lines_reach_the_instances_drain_in_their_order_and_once(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    await printed(outputs, release, *(f"line {number}" for number in range(5000)))
    async with Receiver().listening() as there:
        told = {
            "log_drain": f"http://127.0.0.1:{there.port}/in",
            "log_drain_headers": SecretStr('{"X-Key": "k1"}'),
        }
        drainer = made(**told)
        await drainer.ask()
        await round_of(drainer)
        again = made(**told)  # another bot leads now
        await again.ask()
        await printed(outputs, release, "the last")
        await round_of(again)
    assert there.texts == [*(f"line {number}" for number in range(5000)), "the last"]
    assert (there.lines[0]["repository"], there.lines[0]["environment"]) == ("acme/shop", "production")
    assert "x-key: k1" in there.heads[0].lower()
    assert store.instruments.registry.get_sample_value(
        "blacktree_log_drain_lines_total", {"scope": "instance"}
    ) == 5001  # fmt: skip


async def test_what_a_drain_did_not_take_comes_again_and_meanwhile_it_is_told_why(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    statuses = [500, 401, 302]
    async with Receiver(lambda _: statuses.pop(0) if statuses else 200).listening() as there:
        drainer = made(log_drain=f"http://127.0.0.1:{there.port}")
        await drainer.ask()
        await printed(outputs, release, "kept")
        for status in (500, 401, 302):
            at_once(drainer)
            await round_of(drainer)
            (why,) = await troubles(store)
            assert f"it answers {status}" in why
            assert there.texts == []
        gauge = {"scope": "instance"}
        registry = store.instruments.registry
        assert registry.get_sample_value("blacktree_log_drains_failing", gauge) == 1
        assert (registry.get_sample_value("blacktree_log_drain_lag_seconds", gauge) or 0) > 0
        at_once(drainer)
        await round_of(drainer)
    assert there.texts == ["kept"]
    assert await troubles(store) == []
    assert registry.get_sample_value("blacktree_log_drains_failing", gauge) == 0


async def test_beyond_the_budget_the_oldest_is_left_out_and_the_drain_is_told_how_many(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    up = False
    async with Receiver(lambda _: 200 if up else 503).listening() as there:
        drainer = made(log_drain=f"http://127.0.0.1:{there.port}", log_drain_budget="64k")
        await drainer.ask()
        await printed(outputs, release, "first")
        up = True
        await round_of(drainer)
        up = False
        for part in range(20):
            await printed(outputs, release, *(f"{part} {number} {'x' * 100}" for number in range(100)))
            at_once(drainer)
            await round_of(drainer)
        up = True
        at_once(drainer)
        await round_of(drainer)
        await round_of(drainer)
    first, note, *rest = there.texts
    assert (first, rest[-1].split()[:2]) == ("first", ["19", "99"])
    missing = int(note.split()[0].strip("[").replace(",", ""))
    assert missing + len(rest) == 2000
    assert 0 < sum(len(one) for one in rest) < 64 * 1024
    async with store.reading() as session:
        (row,) = (await session.exec(select(LogDrainRow))).all()
    assert row.dropped == missing


async def test_a_batch_that_is_too_large_goes_in_halves_and_a_line_that_is_not_taken_is_left_out(
    made: Callable[..., Drainer], outputs: Outputs, release: Release
) -> None:
    async with Receiver(
        lambda body: 413 if body.count(b"\n") > 4 or b"bad" in body else 200
    ).listening() as there:
        drainer = made(log_drain=f"http://127.0.0.1:{there.port}", log_drain_gzip=False)
        await drainer.ask()
        await printed(outputs, release, *(f"{number}" for number in range(7)), "bad", "8", "9")
        for _ in range(12):
            at_once(drainer)
            await round_of(drainer)
    texts = [text for text in there.texts if "missing" not in text]
    assert texts == [*"01234567"[:7], "8", "9"]
    assert any("1 lines" in text for text in there.texts)


async def test_what_a_release_of_another_version_says_of_its_drain_keeps_nobody_elses_lines(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    await names(store, release, {"to": "gopher://h", "of the future": 1})
    await printed(outputs, release, "a line")
    async with Receiver().listening() as there:
        drainer = made(log_drain=f"http://127.0.0.1:{there.port}/in")
        await drainer.ask()
        await round_of(drainer)
        assert there.texts == ["a line"]
    (told,) = await troubles(store)
    assert "of another version of Blacktree" in told


async def test_a_drain_that_hangs_holds_up_no_other_drain(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    blocked = await asyncio.start_server(_silent, "127.0.0.1", 0)
    await names(store, release, {"to": f"http://127.0.0.1:{blocked.sockets[0].getsockname()[1]}"})
    async with Receiver().listening() as there:
        drainer = made(log_drain=f"http://127.0.0.1:{there.port}", reachable="127.0.0.1")
        await drainer.ask()
        await printed(outputs, release, "hello")
        await drainer.look()
        await until(lambda: there.texts == ["hello"])
        assert not drainer._tasks[release.environment_id, "repository"].done()
        await drainer.close()  # whoever ends waits for none either
    blocked.close()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_a_repositorys_drain_has_its_own_secrets_and_no_private_address(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    async with Receiver().listening() as there:
        await names(store, release, {"to": f"http://localhost:{there.port}"})
        drainer = made()
        await drainer.ask()
        await printed(outputs, release, "hello")
        await round_of(drainer)
        (why,) = await troubles(store)
        assert "private address" in why
        assert there.heads == []
        allowed = made(reachable=f"127.0.0.1:{there.port}, ::1")
        await allowed.ask()
        await round_of(allowed)
        assert there.texts == ["hello"]
        assert f"host: localhost:{there.port}" in there.heads[0].lower()
    await names(store, release, {"to": "https://x.example", "headers": {"Authorization": "LOGS_TOKEN"}})
    drainer = made()
    await drainer.ask()
    await printed(outputs, release, "more")
    await round_of(drainer)
    assert "LOGS_TOKEN is not set" in (await troubles(store))[0]
    await drainer.secrets.set(REPOSITORY, "", "LOGS_TOKEN", "Bearer t0ken")
    await drainer.ask()
    (known,) = drainer._known.values()
    assert known.wanted.target is not None
    assert known.wanted.target.headers == (("Authorization", "Bearer t0ken"),)
    assert "t0ken" not in known.wanted.shown


async def test_a_drain_that_no_file_names_any_more_gets_what_was_printed_before_and_then_nothing(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, store: Store
) -> None:
    async with Receiver().listening() as there:
        await names(store, release, {"to": f"http://127.0.0.1:{there.port}"})
        drainer = made(reachable="127.0.0.1")
        await drainer.ask()
        await printed(outputs, release, "why it ended")
        await names(store, release, None)
        await drainer.ask()
        await round_of(drainer)
        await drainer.ask()
        await printed(outputs, release, "nobody's")
        await round_of(drainer)
    assert there.texts == ["why it ended"]
    async with store.reading() as session:
        assert (await session.exec(select(LogDrainRow))).all() == []


async def test_syslog_over_tcp_comes_again_where_the_other_side_went_away_in_between(
    made: Callable[..., Drainer], outputs: Outputs, release: Release
) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int(await reader.readuntil(b" "))
                heard.append(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    drainer = made(log_drain=f"syslog+tcp://127.0.0.1:{port}")
    await drainer.ask()
    await printed(outputs, release, "one", "two")
    await round_of(drainer)
    await until(lambda: len(heard) == 2)
    (turns,) = drainer.sinks._known.values()
    await turns.sink.close()  # as a network does
    server.close()
    await printed(outputs, release, "three")
    await round_of(drainer)
    assert drainer._known[release.environment_id, "instance"].problem
    server = await asyncio.start_server(listen, "127.0.0.1", port)
    at_once(drainer)
    await round_of(drainer)
    await until(lambda: len(heard) >= 3)
    server.close()
    await drainer.sinks.keep_only(())
    assert [message.decode().rpartition("\ufeff")[2] for message in heard] == ["one", "two", "three"]


async def test_syslog_over_udp_is_a_datagram_a_line(
    made: Callable[..., Drainer], outputs: Outputs, release: Release
) -> None:
    heard: list[bytes] = []

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
            heard.append(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    drainer = made(log_drain=f"syslog+udp://127.0.0.1:{port}")
    await drainer.ask()
    await printed(outputs, release, "one", "two")
    await round_of(drainer)
    await until(lambda: len(heard) == 2)
    transport.close()
    await drainer.sinks.keep_only(())
    assert [message.decode().rpartition("\ufeff")[2] for message in heard] == ["one", "two"]


async def until(fulfilled: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not fulfilled():  # noqa: ASYNC110 (another process's, in earnest)
            await asyncio.sleep(0.02)


async def test_a_drain_that_begins_is_sent_what_was_printed_lately_and_not_what_is_old(
    made: Callable[..., Drainer], outputs: Outputs, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = Said(time.time_ns() - 3600 * 10**9, "an hour ago", "web", "shop", "c0", release.id)
    await outputs.append(release.environment_id, [old])
    await printed(outputs, release, "lately")
    monkeypatch.setattr(drainers, "_LOOK", 0.01)
    async with Receiver().listening() as there:
        running = asyncio.create_task(made(log_drain=f"http://127.0.0.1:{there.port}").run())
        await until(lambda: there.texts == ["lately"])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert there.texts == ["lately"]
