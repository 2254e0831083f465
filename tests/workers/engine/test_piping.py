"""A command in a container, by Docker's own engine: every byte, how it ended, and never left behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from docker.models.containers import Container

from tests.parts.engine import Engine
from tests.workers.conftest import MADE
from workers.contract.failure import Failure
from workers.engine import piping
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown

LARGE = 20 * 2**20


@pytest.fixture
def container(engine: Engine, base: str, name: str) -> Iterator[Container]:
    made = engine.client.containers.run(base, ["sleep", "600"], detach=True, labels={MADE: name}, init=True)
    yield made
    made.remove(force=True)


def said(container: Container, *command: str) -> str:
    found: Any = container.exec_run(list(command)).output
    return str(found.decode().strip())


def processes(container: Container, word: str) -> list[str]:
    return [line for line in said(container, "ps").splitlines() if word in line]


async def test_all_that_a_command_prints_arrives_and_so_does_how_it_ended(
    docker_engine: DockerEngine, container: Container
) -> None:
    found = hashlib.sha256()
    script = f"head -c {LARGE} /dev/urandom > /tmp/dump; sha256sum /tmp/dump >&2; cat /tmp/dump; exit 3"

    ended = await docker_engine.said_by(str(container.id), ["sh", "-c", script], found.update)

    assert ended.code == 3
    assert ended.said.split()[0] == found.hexdigest()


async def test_all_that_a_command_is_fed_arrives_though_it_prints_meanwhile(
    docker_engine: DockerEngine, container: Container
) -> None:
    pieces = [b"x" * 2**20] * 20
    script = "tee /tmp/got; echo done >&2; exit 4"

    ended = await docker_engine.fed(str(container.id), ["sh", "-c", script], pieces)

    assert (ended.code, "done" in ended.said) == (4, True)
    assert said(container, "stat", "-c", "%s", "/tmp/got") == str(LARGE)


async def test_a_command_is_gone_when_it_is_cancelled(
    docker_engine: DockerEngine, container: Container
) -> None:
    loop, printing = asyncio.get_running_loop(), asyncio.Event()
    endless = ["sh", "-c", "while :; do echo mark; sleep 0.01; done"]

    def take(_: bytes) -> None:
        loop.call_soon_threadsafe(printing.set)

    reading = asyncio.create_task(docker_engine.said_by(str(container.id), endless, take))
    await asyncio.wait_for(printing.wait(), 60)
    assert processes(container, "mark")

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert processes(container, "mark") == []


async def test_where_what_it_is_fed_breaks_off_a_command_never_sees_the_end_of_its_input(
    docker_engine: DockerEngine, container: Container
) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"some"
        raise ValueError("cut")

    script = "cat > /tmp/got; touch /tmp/committed"
    with pytest.raises(ValueError, match="cut"):
        await docker_engine.fed(str(container.id), ["sh", "-c", script], pieces())

    assert processes(container, "committed") == []
    assert container.exec_run(["test", "-e", "/tmp/committed"]).exit_code == 1


async def test_one_that_is_killed_or_not_there_is_told(
    docker_engine: DockerEngine, container: Container
) -> None:
    ended = await docker_engine.said_by(str(container.id), ["sh", "-c", "kill -9 $$"], len)  # type: ignore[arg-type]
    assert ended.code == 137
    ended = await docker_engine.said_by(str(container.id), ["nothing"], len)  # type: ignore[arg-type]
    assert (ended.code, "nothing" in ended.said) == (127, True)


class Told:
    """An engine's client that says how a command ended; nobody reads what that is fed."""

    def __init__(self, code: int, output: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = self
        self._code = code
        here, there = socket.socketpair()
        there.close()
        monkeypatch.setattr(piping, "opened", lambda *_: (io.BytesIO(output), here, here))

    def exec_create(self, *_: Any, **__: Any) -> dict[str, str]:
        return {"Id": "1"}

    def exec_start(self, _: str) -> None:
        pass

    def exec_inspect(self, _: str) -> dict[str, Any]:
        return {"Running": False, "ExitCode": self._code}


def test_a_command_that_ended_before_it_had_read_everything_did_not_succeed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = b"\2\0\0\0\0\0\0\3" + b"17\n"
    succeeded: Any = Told(0, number, monkeypatch)
    with pytest.raises(Failure, match="ended before it had read everything"):
        piping.Piped(succeeded, "c", ["true"]).fed([b"x"] * 3)
    failed: Any = Told(3, number, monkeypatch)
    assert piping.Piped(failed, "c", ["false"]).fed([b"x"] * 3).code == 3


def test_an_output_that_the_engine_breaks_off_is_no_output(monkeypatch: pytest.MonkeyPatch) -> None:
    for cut in (b"\1\0\0", b"\1\0\0\0\0\0\0\5abc"):
        client: Any = Told(0, cut, monkeypatch)
        with pytest.raises(EngineDown, match="broke off"):
            piping.Piped(client, "c", ["dump"]).printed(lambda _: None)
