"""What a worker tells of its containers while they run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import deployed, spec
from workers import heartbeat
from workers.contract.messages import ContainerState, Credentials, Succeeded
from workers.deploy.watch import service_states
from workers.engine.services import Service, Task
from workers.tools import Tools

SOON = 50.0  # seconds, on a machine that is busy
LONG = 600.0  # seconds of a lease: then heartbeats are 100 s apart, and what comes sooner was caused


@pytest.fixture
def settings(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(heartbeat, "_LONGEST", LONG)
    return Settings(data_dir=tmp_path / "data", worker_name=name, lease=LONG, shutdown=5, firewall=False)


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("last_words", "code", "out_of_memory"),
    [("echo dying; exit 7", 7, False), ("exec tail /dev/zero", 137, True)],
)
async def test_a_crash_is_told_long_before_the_next_heartbeat_with_why_and_the_last_lines(
    bot: Bot, engine: Engine, base: str, name: str, last_words: str, code: int, out_of_memory: bool
) -> None:
    bot.lease, bot.credentials = LONG, Credentials(env={"PASSWORD": "correct-horse"})
    script = f"mkfifo /end; echo with $PASSWORD; httpd -p 8080 -h /; read x < /end; {last_words}"
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    known = len(bot.beats)

    await _exec(one(engine, name), "echo > /end")

    # The engine may tell why only after that it has ended.
    why = (code, out_of_memory)
    state = await told(
        bot, known, lambda state: state.restarts > 0 and (state.exit_code, state.out_of_memory) == why
    )
    assert state.release == "r1"
    assert "with ***" in state.last_lines
    assert ("dying" in state.last_lines) is not out_of_memory
    await told(bot, known, lambda state: state.running and state.restarts > 0)


@pytest.mark.usefixtures("worker")
async def test_what_happens_to_a_container_is_told_though_nobody_asks(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.lease = LONG
    await deployed(bot, base, "r1")
    container = one(engine, name)
    known = len(bot.beats)
    await asyncio.to_thread(container.kill)
    state = await told(bot, known, lambda state: not state.running)
    assert (state.exit_code, state.out_of_memory) == (137, False)
    await asyncio.to_thread(container.remove, force=True)
    await asyncio.to_thread(engine.client.containers.run, base, "true", remove=True, network_mode="none")
    await bot.until(lambda: bot.beats[-1].containers == [], SOON)


@pytest.mark.usefixtures("worker")
async def test_a_release_that_proves_itself_is_probed_on_and_what_fails_is_told(
    bot: Bot, engine: Engine, base: str, name: str
) -> None:
    bot.lease, bot.proving = LONG, ["r1"]
    script = "mkfifo /end; httpd -p 8080 -h /; read x < /end; killall httpd; sleep 60"
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    known = len(bot.beats)

    await _exec(one(engine, name), "echo > /end")

    state = await told(bot, known, lambda state: bool(state.failing))
    assert state.running
    assert "nothing listens there" in state.failing


@pytest.mark.usefixtures("worker")
async def test_an_engine_that_hangs_delays_no_heartbeat(
    bot: Bot, tools: Tools, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot.lease = LONG
    await deployed(bot, base, "r1")

    async def hangs(*_: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(tools.engine, "containers", hangs)
    await asyncio.sleep(0.5)
    for _ in range(3):
        known = len(bot.beats)
        await bot.nudge(tools.worker)
        await bot.until(lambda known=known: len(bot.beats) > known, SOON)  # type: ignore[misc]
    assert [state.release for state in bot.beats[-1].containers] == ["r1"], "as it was last seen"


def test_a_services_replicas_are_its_slots_newest_tasks() -> None:
    def task(slot: int, state: str, release: str = "new", **more: Any) -> Task:
        known: dict[str, Any] = {"id": "t", "wanted": "running", "error": "", "exit_code": 0, "host": "",
                                 "port": None, "node": "n"}  # fmt: skip
        return Task(**{**known, "slot": slot, "state": state, "release": release, **more})

    broken: dict[str, Any] = {"wanted": "shutdown", "error": "task: non-zero exit (3)", "exit_code": 3}
    tasks = [
        task(1, "starting"), task(1, "failed", **broken), task(1, "failed", **broken),
        task(2, "running", port=30_001, host="10.0.0.2"), task(2, "shutdown", "old", wanted="shutdown"),
    ]  # fmt: skip
    service = Service("shop", {"io.blacktree.environment": "production"}, 2, "", "", None, None, tasks)

    first, second = service_states(service, "10.0.0.1")

    assert (first.name, first.running, first.restarts, first.exit_code) == ("shop.1", False, 2, 3)
    assert (second.running, second.restarts, second.address) == (True, 0, "10.0.0.2:30001")
    assert (first.environment, second.release) == ("production", "new")


def one(engine: Engine, name: str) -> Container:
    [container] = engine.containers(f"io.blacktree.worker={name}")
    return container


async def _exec(container: Container, script: str) -> None:
    await asyncio.to_thread(container.exec_run, ["sh", "-c", script])


async def told(bot: Bot, known: int, fits: Any) -> ContainerState:
    """The first state of a later heartbeat that fits."""

    def found() -> ContainerState | None:
        states = (state for beat in bot.beats[known:] for state in beat.containers)
        return next((state for state in states if fits(state)), None)

    return await bot.until(found, SOON)
