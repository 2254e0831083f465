"""Channels by apprise, whose process tells a real receiver over HTTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from bot.outbox import courier, grouping
from bot.reports import happenings
from bot.store.tables import Environment, Outgoing, Release
from tests.bot.conftest import REPOSITORY
from tests.bot.outbox.conftest import House
from tests.bot.outbox.receiver import until

pytestmark = pytest.mark.timeout(600)  # each courier is a process that imports apprise


def address(house: House) -> str:
    return f"json://127.0.0.1:{house.receiver.port}/chat"


async def suffers(house: House, *places: str, problem: str = "it ended") -> None:
    """All these environments' releases suffer at once."""
    async with house.store.transaction() as session:
        for number, name in enumerate(places):
            place = Environment(id=number + 1, repository_id=REPOSITORY, name=name)
            release = Release(run_id=1, job_id=name, sha="1", image="x", environment_id=1, problem=problem)
            happenings.crashed(session, release, place)


async def test_what_goes_wrong_at_once_is_one_message_with_a_list_and_is_told_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.outbox.sorting.COLLECT", timedelta(0))
    monkeypatch.setattr(grouping, "DISTANCE", timedelta(0))
    await house.rows.run()
    async with house.sending(notify=f"ops: {address(house)}"):
        await suffers(house, "production", "staging", "pr-3")
        [got] = await house.receiver.has(1)
        await until(lambda: house.outgoing("sent"))
        await suffers(house, "production", problem="it ended again")
        await suffers(house, "production", problem="")
        [_, well] = await house.receiver.has(2)
        await until(lambda: house.outgoing("sent"))

    assert got.json["title"] == "Blacktree: 2 need a look"
    lines = got.json["message"].splitlines()
    assert lines[0] == "❌ acme/shop · production: the app suffers: it ended https://bot.test/environments/1"
    assert len(lines) == 2
    assert well.json["title"] == "acme/shop · production: the app is well again"


async def test_a_repositorys_channel_leads_where_its_secret_says_and_nowhere_near(house: House) -> None:
    await house.rows.run()
    await house.channels({"team": {"secret": "TEAM"}})
    await house.secrets(house.settings()).set(REPOSITORY, "", "TEAM", address(house))

    async def tested() -> None:
        async with house.store.transaction() as session:
            session.add(Outgoing(lane=f"channel:{REPOSITORY}:team", event="test", body='{"event": "test"}'))

    async with house.sending():
        await tested()
        [refused] = await until(lambda: house.outgoing("given up"))
    assert "NOTIFY_REACHABLE" in refused.reason
    assert address(house) not in refused.reason
    assert house.receiver.got == []

    async with house.sending(notify_reachable="127.0.0.1"):
        await tested()
        [got] = await house.receiver.has(1)
    assert "a test" in got.json["title"]


async def test_a_channel_whose_secret_is_not_set_says_so(house: House) -> None:
    await house.rows.run()
    await house.channels({"team": {"secret": "TEAM"}})
    async with house.store.transaction() as session:
        session.add(Outgoing(lane=f"channel:{REPOSITORY}:team", event="test", body='{"event": "test"}'))
    async with house.sending():
        [one] = await until(lambda: house.outgoing("given up"))

    assert one.reason.startswith("its secret is not set: blacktree secret set acme/shop TEAM")


GUARDED = """
import os, socket, subprocess, sys, syslog
from bot.outbox import courier
courier.guard(())
def refused(act):
    try:
        act()
    except PermissionError:
        return True
    return False
assert refused(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
assert refused(lambda: socket.create_connection(("::ffff:127.0.0.1", int(sys.argv[1]))))
assert refused(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)))
assert refused(lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
assert refused(lambda: open(sys.argv[2]))
assert refused(lambda: open(sys.argv[2], "w"))
assert refused(lambda: open("/etc/passwd"))
assert refused(lambda: open("pyproject.toml"))
assert refused(lambda: os.open(courier.__file__, os.O_WRONLY))
assert refused(lambda: subprocess.run(["true"]))
assert refused(lambda: syslog.syslog("x"))
two = f"json://127.0.0.1:{sys.argv[1]}/, syslog://"
assert courier.bring(two, ("x", "x"), guarded=True) == courier.NO_ADDRESS
import this
"""


def test_the_process_of_a_repositorys_channel_reaches_nothing_private_and_reads_nothing_of_the_machine(
    tmp_path: Path, house: House
) -> None:
    (tmp_path / "secret.key").write_text("x")
    command = [sys.executable, "-BP", "-c", GUARDED, str(house.receiver.port), str(tmp_path / "secret.key")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert done.returncode == 0, done.stderr


async def test_what_answers_without_an_end_has_no_more_memory_than_it_may() -> None:
    async def endless(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(bytes(1 << 20))
                await writer.drain()

    bounds = "c._MEMORY, c.LONGEST = 192 << 20, 300"
    little = f"import sys; from bot.outbox import courier as c; {bounds}; sys.exit(c.main())"
    async with await asyncio.start_server(endless, "127.0.0.1", 0) as server:
        told = f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        given = {"address": told, "title": "x", "body": "x", "guarded": True, "reachable": "127.0.0.1"}
        command = [sys.executable, "-BP", "-c", little]
        done = await asyncio.to_thread(
            subprocess.run, command, input=json.dumps(given).encode(), capture_output=True, check=False
        )

    assert done.returncode == courier.NOT_TAKEN, done


def test_a_bot_that_tells_nobody_does_not_load_apprise() -> None:
    known = "[name for name in ('apprise', 'requests') if name in sys.modules]"
    seen = f"import bot.main, sys, json; print(json.dumps({known}))"
    done = subprocess.run(
        [sys.executable, "-c", seen], capture_output=True, text=True, timeout=300, check=True
    )

    assert json.loads(done.stdout.splitlines()[-1]) == []
