"""The console script, as somebody types it."""

from __future__ import annotations

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.github import GitHub
from tests.instance import BLACKTREE, PATIENCE, Instance, Process
from tests.parts.broker import Broker
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry
from workers.contract.credential import Credential, KeyPair

DEAD = "127.0.0.1:1"
CREDENTIAL = Credential("one", "default", KeyPair.made(), KeyPair.made().public).text


async def _run(*command: str, **settings: str) -> tuple[int, str]:
    """Exit code and everything that was printed."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("BLACKTREE_")}
    env |= {f"BLACKTREE_{key.upper()}": value for key, value in settings.items()}
    child = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(PATIENCE):
        printed, _ = await child.communicate()
    return child.returncode or 0, printed.decode()


@pytest.mark.parametrize(
    ("command", "settings", "named"),
    [
        ("up", {"github_token": "t"}, "BLACKTREE_GITHUB_WEBHOOK_SECRET is missing"),
        ("up", {"github_webhook_secret": "s" * 20}, "GitHub credentials are missing"),
        ("up", {"prot": "1"}, "BLACKTREE_PROT: there is no such setting. Did you mean port?"),
        (
            "up",
            {"domain": "https://example.com"},
            "BLACKTREE_DOMAIN: must be a host name alone: write example.com",
        ),
        ("up", {"registry": "http://ghcr.io"}, "BLACKTREE_REGISTRY: must be a prefix of images' names"),
        (
            "serve",
            {"github_app_id": "1", "github_app_private_key": "/etc/key.pem"},
            "BLACKTREE_GITHUB_APP_PRIVATE_KEY: is a path, not the key: name the file in GITHUB_APP_PRIVATE",
        ),
        ("serve", {"queue_url": "memory://"}, "QUEUE_URL"),
        ("worker", {"queue_url": "memory://"}, "BLACKTREE_QUEUE_URL"),
        (
            "worker",
            {"queue_url": "amqp://me:geheim@127.0.0.1:none/", "worker_credential": CREDENTIAL},
            "the queue's address cannot be read",
        ),
        ("worker", {"queue_url": f"amqp://{DEAD}/"}, "BLACKTREE_WORKER_CREDENTIAL is missing"),
        (
            "up",
            {
                "github_webhook_secret": "s" * 20,
                "github_token": "t",
                "database_url": "postgresql://me:geheim@127.0.0.1:none/d",
            },
            "DATABASE_URL: cannot be read",
        ),
    ],
)
async def test_a_start_that_cannot_be_ends_with_a_sentence(
    command: str, settings: dict[str, str], named: str, tmp_path: Path
) -> None:
    code, printed = await _run(str(BLACKTREE), command, data_dir=str(tmp_path), **settings)

    assert code == 2
    assert named in printed
    assert "Traceback" not in printed
    assert "geheim" not in printed


async def test_doctor_is_content_with_parts_that_work(
    github: GitHub, tmp_path: Path, broker: Broker, registry: Registry, postgres: Postgres, engine: Engine
) -> None:
    assert engine.client.ping()
    code, printed = await _run(
        str(BLACKTREE),
        "doctor",
        data_dir=str(tmp_path),
        queue_url=broker.amqp_url,
        database_url=postgres.create_database("doctor"),
        registry=f"{registry.address}/acme",
        registry_username=registry.username,
        registry_password=registry.password,
        registry_pull_username=registry.username,
        registry_pull_password=registry.password,
        github_api_url=github.api_url,
        github_app_id=str(github.app.id),
        github_app_private_key=github.app.private_key,
        github_webhook_secret=github.app.webhook_secret,
    )

    assert "✗" not in printed
    assert code == 0
    for part in ("engine", "BuildKit", "queue", "registry", "disk", "store", "GitHub", "webhook secret"):
        assert f"✓  {part}" in printed
    assert registry.password not in printed


async def test_doctor_says_for_each_part_that_fails_what_to_do(registry: Registry, tmp_path: Path) -> None:
    code, printed = await _run(
        str(BLACKTREE),
        "doctor",
        data_dir=str(tmp_path),
        queue_url=f"amqp://me:geheim@{DEAD}/",
        database_url=f"postgresql://me:geheim@{DEAD}/d",
        registry=f"{registry.address}/acme",
        registry_username=registry.username,
        registry_password="wrong",
        github_api_url=f"http://{DEAD}",
        github_token="t",
        github_webhook_secret="short",
    )

    assert code == 1
    lines = printed.splitlines()
    for part in ("queue", "registry", "store", "GitHub", "webhook secret"):
        (place,) = (number for number, line in enumerate(lines) if line.startswith(f"✗  {part}"))
        assert "→" in lines[place + 1]
    assert "geheim" not in printed
    assert "Traceback" not in printed


async def test_a_machine_that_only_works_needs_no_driver_and_no_github_library() -> None:
    absent = ("sqlmodel", "sqlalchemy", "gidgethub", "starlette", "uvicorn", "apscheduler", "alembic")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({absent!r}))\n"
        "import bot.cli, workers.main, workers.doctor, workers.contract.rabbitmq\n"
        "sys.argv = ['blacktree', 'worker']; bot.cli.main()"
    )
    known = {"queue_url": "amqp://127.0.0.1:none/", "worker_credential": CREDENTIAL}
    code, printed = await _run(sys.executable, "-c", program, **known)

    assert "the queue's address cannot be read" in printed
    assert code == 2


async def _says(process: Process, word: str) -> bool:
    return word in process.said()


async def test_up_says_what_it_is_connected_to_and_ends_well(blacktree: Instance, engine: Engine) -> None:
    assert engine.client.ping()
    up = await blacktree.start("up")
    await blacktree.ready()
    await blacktree.until(partial(_says, up, "worker started"), "the worker")

    assert await up.stop() == 0
    for told in ("bot started", "SQLite", "memory (this process)", "Caddy at", "engine=", "builder="):
        assert told in up.said()
    assert "Traceback" not in up.said()
