"""`make bench ARGS=intake`: deliveries a second, beside Debian's `webhook`, which stores nothing.

The same payload for both, a push of 7.7 KB with another GUID each time, by wrk with 16 connections. `webhook`
checks the signature too. It is measured as it is meant to be used, when it starts its command for each
(/bin/true), and where a second rule keeps it from that. The bot decides meanwhile what it has taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text

from tests.parts.postgres import Postgres

ROUNDS, SECONDS, CONNECTIONS = 5, 4, 16
_SECRET = "a secret of the webhook"
_BYTES = 7_700
_WRK = """
local body = io.open("{body}", "rb"):read("*a")
local count, nonce = 0, "{nonce}"
local headers = {{
  ["content-type"] = "application/json", ["x-github-event"] = "push", ["x-hub-signature-256"] = "{signature}"
}}
function request()
  count = count + 1
  headers["x-github-delivery"] = nonce .. "-" .. count
  return wrk.format("POST", nil, headers, body)
end
"""


@dataclass(frozen=True)
class Figure:
    """What wrk measured."""

    rate: float  # requests a second
    p99: float  # milliseconds


async def main() -> None:
    """Print medians of all rounds, and ratios of those of the same round."""
    with tempfile.TemporaryDirectory(prefix="blacktree-bench-") as place, Durable() as postgres:
        folder = Path(place)
        named: dict[str, Callable[[], AbstractAsyncContextManager[str]]] = {
            "SQLite": lambda: _bot(folder, f"sqlite:///{folder / 'bot' / 'blacktree.db'}"),
            "PostgreSQL": lambda: _bot(folder, postgres.create_database("bench_intake")),
            "webhook": lambda: _webhook(folder, runs=True),
            "webhook, no command": lambda: _webhook(folder, runs=False),
        }
        figures: dict[str, list[Figure]] = {name: [] for name in named}
        for number in range(ROUNDS):
            for name, started in named.items():
                async with started() as url:
                    figures[name].append(await _measured(url, _script(folder)))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print(f"{'':22}{'a second':>10}{'p99 ms':>9}{'of webhook':>11}{'without command':>19}")
    for name, found in figures.items():
        ratios = [
            median(one.rate / other.rate for one, other in zip(found, figures[peer], strict=True))
            for peer in ("webhook", "webhook, no command")
        ]
        rate, p99 = median(one.rate for one in found), median(one.p99 for one in found)
        print(f"{name:22}{rate:10,.0f}{p99:9.1f}{ratios[0]:11.2f}{ratios[1]:19.2f}")


class Durable(Postgres):
    """One that waits for the disk, as those of the tests do not."""

    def command(self) -> list[str]:
        return [*super().command(), "-c", "fsync=on"]


def _script(folder: Path) -> Path:
    """What tells wrk to send a delivery, another one each time."""
    body, script = folder / "push.json", folder / "wrk.lua"
    body.write_bytes(_payload())
    signature = "sha256=" + hmac.new(_SECRET.encode(), _payload(), hashlib.sha256).hexdigest()
    script.write_text(_WRK.format(body=body, nonce=time.time_ns(), signature=signature))
    return script


async def _measured(url: str, script: Path) -> Figure:
    wrk = await asyncio.create_subprocess_exec(
        "wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{SECONDS}s", "--latency",
        "--script", str(script), url, stdout=subprocess.PIPE,
    )  # fmt: skip
    said = (await wrk.communicate())[0].decode()
    if wrk.returncode != 0 or "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"not all were taken:\n{said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    assert rate is not None
    assert p99 is not None
    return Figure(float(rate[1]), float(p99[1]) * {"us": 0.001, "ms": 1, "s": 1000}[p99[2]])


@asynccontextmanager
async def _bot(folder: Path, database: str) -> AsyncIterator[str]:
    """A bot that is fresh, with a check that it keeps what it took."""
    settings = {
        "DATA_DIR": str(folder / "bot"),
        "DATABASE_URL": database,
        "PORT": "0",
        "PROXY": "none",
        "GITHUB_API_URL": "http://127.0.0.1:9",
        "GITHUB_TOKEN": "none",
        "GITHUB_WEBHOOK_SECRET": _SECRET,
    }
    known = {name: value for name, value in os.environ.items() if not name.startswith("BLACKTREE_")}
    bot = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "bench.bot",
        env=known | {f"BLACKTREE_{name}": value for name, value in settings.items()},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert bot.stdout is not None
    try:
        url = (await bot.stdout.readline()).decode().strip()
        assert url.startswith("http://"), "the bot did not start"
        yield f"{url}/webhooks/github"
    finally:
        bot.kill()
        await bot.wait()
        print(f"  kept: {_kept(database):,}", file=sys.stderr)
        shutil.rmtree(folder / "bot")


def _kept(database: str) -> int:
    engine = create_engine(database.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        count = int(connection.execute(text("SELECT count(*) FROM deliveries")).scalar_one())
    engine.dispose()
    return count


@asynccontextmanager
async def _webhook(folder: Path, *, runs: bool) -> AsyncIterator[str]:
    signed = {
        "type": "payload-hmac-sha256",
        "secret": _SECRET,
        "parameter": {"source": "header", "name": "X-Hub-Signature-256"},
    }
    never = {"type": "value", "value": "never", "parameter": {"source": "payload", "name": "ref"}}
    rules = [{"match": rule} for rule in ([signed] if runs else [signed, never])]
    hook = {"id": "github", "execute-command": "/bin/true", "trigger-rule": {"and": rules}}
    (folder / "hooks.json").write_text(json.dumps([hook]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    webhook = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--",
        "webhook", "-hooks", str(folder / "hooks.json"), "-ip", "127.0.0.1", "-port", str(port),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _listens(port)
        yield f"http://127.0.0.1:{port}/hooks/github"
    finally:
        webhook.kill()
        await webhook.wait()


async def _listens(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                return writer.close()
            await asyncio.sleep(0.05)


def _payload() -> bytes:
    push = {
        "ref": "refs/heads/feature",
        "before": "1" * 40,
        "after": "0" * 40,
        "created": False,
        "deleted": True,  # decided without asking GitHub
        "forced": False,
        "repository": {"id": 7, "full_name": "acme/shop", "default_branch": "main", "private": True},
        "sender": {"login": "ada"},
        "head_commit": None,
        "commits": [],
    }
    text = json.dumps(push)
    filler = ", ".join(
        f'"key_{number}": "https://api.github.test/repos/acme/shop/{number}"' for number in range(200)
    )
    return (text[:-1] + ", " + filler)[:_BYTES].rpartition(",")[0].encode() + b"}"


if __name__ == "__main__":
    asyncio.run(main())
