"""Strangers who ask for much and prove nothing, at a bot's real process, whose memory is read from /proc."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.responses import Response

from bot.main import bot as bot_of
from bot.main import stopping
from bot.store.database import Store
from bot.web.server import Phase, listening
from config.settings import Settings
from config.sources import load
from config.trust import trusted
from tests.bot.conftest import Rows
from tests.bot.intake.test_receiver import JSON, signature
from tests.github import GitHub
from tests.warm import Fork
from workers.contract.memory import MemoryQueue

SECRET = "a secret of the webhook"
MEGABYTE = 1024 * 1024
LARGE = 24 * MEGABYTE
MOST_GROWTH = 100 * MEGABYTE
# Seconds: as GitHub's 10 to a stranger's 10, whom an honest delivery does not wait for.
PROMPT, STRANGERS = 40.0, 90.0
pytestmark = pytest.mark.timeout(400)


def alone() -> None:
    """A bot without workers, which prints where it listens."""

    async def main() -> None:
        async with stopping() as stop, bot_of(load(), MemoryQueue(), stop) as url:
            print(url, flush=True)
            await stop.wait()

    asyncio.run(main())


def patient() -> None:
    """The same, which gives strangers STRANGERS: a busy machine is no reason to be late."""
    Phase.HEAD._value_ = Phase.BODY._value_ = STRANGERS
    alone()


@dataclass
class Bot:
    """The process, seen from outside."""

    url: str
    pid: int
    http: httpx2.AsyncClient
    delivered: int = 0

    def resident(self) -> int:
        """Bytes of memory that it has now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def worked(self) -> float:
        """Seconds of a processor that it has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    async def deliver(self, size: int = 0) -> httpx2.Response:
        """What GitHub sends, of about `size` bytes, within the time that it waits."""
        self.delivered += 1
        body = json.dumps({"zen": "x" * size}).encode()
        headers = {
            "x-github-delivery": f"guid-{self.delivered}",
            "x-github-event": "star",
            "x-hub-signature-256": signature(body, SECRET.encode()),
            "content-type": JSON,
        }
        async with asyncio.timeout(PROMPT):
            return await self.http.post("/webhooks/github", content=body, headers=headers)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        place = urlsplit(self.url)
        return await asyncio.open_connection(place.hostname, place.port)


@pytest.fixture
async def bot(tmp_path: Path, github: GitHub, request: pytest.FixtureRequest) -> AsyncIterator[Bot]:
    settings = {
        "DATA_DIR": str(tmp_path / "data"),
        "PORT": "0",
        "PROXY": "none",
        "GITHUB_API_URL": github.api_url,
        "GITHUB_WEBHOOK_SECRET": SECRET,
        "GITHUB_APP_ID": str(github.app.id),
        "GITHUB_APP_PRIVATE_KEY": github.app.private_key,
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLACKTREE_")}
    environment |= {f"BLACKTREE_{name}": value for name, value in settings.items()}
    program = getattr(request, "param", alone)
    process = Fork(program, [], environment, tmp_path / "said", tmp_path / "said")
    try:
        url = (await process.prints(r"^http://\S+$", limit=60)).group()
        # A connection for each request, as GitHub's are.
        limits = httpx2.Limits(max_keepalive_connections=0)
        async with httpx2.AsyncClient(
            verify=trusted(), base_url=url, timeout=60, limits=limits, trust_env=False
        ) as http:
            yield Bot(url, process.pid, http)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


def head(length: int | str = LARGE, path: str = "/webhooks/github") -> bytes:
    """The head of a delivery that looks as GitHub's do, and is signed by a stranger."""
    return (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n"
        f"x-hub-signature-256: sha256={'0' * 64}\r\nx-github-event: push\r\nx-github-delivery: x\r\n\r\n"
    ).encode()


@asynccontextmanager
async def besieged(bot: Bot, count: int, start: bytes, size: int) -> AsyncIterator[list[int]]:
    """`count` strangers at once; gives what memory the bot had meanwhile."""
    strangers = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "--",
        sys.executable, "-m", "tests.parts.strangers", bot.url, str(count), str(size),
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert strangers.stdin is not None
    strangers.stdin.write(start)
    strangers.stdin.close()

    async def watches(sizes: list[int]) -> None:
        while True:
            sizes.append(bot.resident())
            await asyncio.sleep(0.05)

    sizes: list[int] = []
    watching = asyncio.create_task(watches(sizes))
    try:
        async with asyncio.timeout(60):
            while bot.files() < min(count, 400):  # noqa: ASYNC110 (the process tells nobody)
                await asyncio.sleep(0.05)
        yield sizes
    finally:
        watching.cancel()
        strangers.kill()
        await strangers.wait()


async def test_who_asks_for_logs_and_reads_none_costs_little_and_delays_nobody(
    bot: Bot, tmp_path: Path
) -> None:
    token = (tmp_path / "data" / "api.token").read_text().strip()
    async with Store.opened(f"sqlite:///{tmp_path / 'data' / 'blacktree.db'}") as store:
        rows = Rows(store)
        job = await rows.job(await rows.run(), attempt=1)
    log = tmp_path / "data" / "logs" / job.id / "1.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"a line of a log that is long\n" * (32 * MEGABYTE // 29))
    await bot.deliver()
    url, headers = f"/api/v1/jobs/{job.id}/log", {"authorization": f"Bearer {token}"}
    # What is there from the first ones on, modules and threads, is not for each of them.
    await asyncio.gather(*(bot.http.get(url, headers=headers) for _ in range(4)))
    before, viewers = bot.resident(), 100
    ask = f"GET {url} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {token}\r\n\r\n"

    async with AsyncExitStack() as stack:
        for _ in range(viewers):
            _, writer = await bot.open()
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            stack.callback(writer.close)
            writer.write(ask.encode())
        sizes = []
        for _ in range(20):
            assert (await bot.deliver()).status_code == 202
            sizes.append(bot.resident())
        whole = await bot.http.get(url, headers=headers)

    assert len(whole.content) == log.stat().st_size
    assert max(sizes) - before < viewers * MEGABYTE // 2


@pytest.mark.parametrize(
    ("count", "start", "size"),
    [
        (60, head(), LARGE - MEGABYTE),
        (1000, head(), LARGE - MEGABYTE),
        (1000, b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\nx-much: " + b"x" * 30_000, 0),
        (1000, head(path="/api/v1/environments/1/deploys"), LARGE - MEGABYTE),
        (1000, b"", 0),
    ],
    ids=["60 large bodies", "1000 large bodies", "1000 half heads", "1000 orders", "1000 who say nothing"],
)
@pytest.mark.parametrize("bot", [patient], indirect=True)
async def test_strangers_cost_little_and_honest_deliveries_are_taken_meanwhile(
    bot: Bot, count: int, start: bytes, size: int
) -> None:
    assert (await bot.deliver(MEGABYTE)).status_code == 202
    before = bot.resident()

    async with besieged(bot, count, start, size) as sizes:
        answers = [await bot.deliver(size) for size in (10, 1000, 30_000) * 3]

    assert [answer.status_code for answer in answers] == [202] * 9
    assert max(sizes) - before < MOST_GROWTH


@pytest.mark.parametrize(
    ("start", "limit", "status"),
    [
        (b"POST /webhooks/github HTTP/1.1\r\nhost: x\r\n", 25, 408),
        (head() + b"x", 90, 408),
        (head(LARGE * 2), 25, 413),
        (head().replace(b"sha256=0", b"sha256=x"), 25, 401),
    ],
    ids=["half a head", "half a body", "more than a body may have", "no signature at all"],
)
async def test_who_does_not_come_to_the_point_is_told_and_ended(
    bot: Bot, start: bytes, limit: float, status: int
) -> None:
    reader, writer = await bot.open()
    writer.write(start)

    async with asyncio.timeout(limit):
        answer = await reader.readuntil(b"\r\n\r\n")
        told = json.loads(await reader.readuntil(b"}"))

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert told["message"]
    writer.transport.abort()


async def test_who_says_nothing_is_ended_without_a_word_too_long_a_head_is_refused(bot: Bot) -> None:
    async with AsyncExitStack() as stack:
        idle, talker = await bot.open(), await bot.open()
        for _, writer in (idle, talker):
            stack.callback(writer.transport.abort)
        talker[1].write(b"GET / HTTP/1.1\r\nhost: x\r\nx-much: " + b"x" * 40_000)

        async with asyncio.timeout(60):
            assert (await talker[0].read()).startswith(b"HTTP/1.1 400 ")
            assert b"408" in await idle[0].read()


async def test_what_follows_a_body_without_end_is_refused(bot: Bot) -> None:
    _, writer = await bot.open()
    start = head().replace(f"content-length: {LARGE}".encode(), b"transfer-encoding: chunked")
    writer.write(start + b"1\r\nx\r\n0\r\n")

    with pytest.raises(ConnectionError):
        await _flooded(writer)
    writer.transport.abort()


async def _flooded(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(60):
        for _ in range(5000):
            writer.write(b"x-more: x\r\n" * 1000)
            await writer.drain()


async def test_a_few_may_be_asked_ahead_and_are_answered_in_order_more_may_not(bot: Bot) -> None:
    reader, writer = await bot.open()
    for path in ("/healthz", "/nothing", "/healthz"):
        writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
    async with asyncio.timeout(PROMPT):
        told = [await _status(reader) for _ in range(3)]
    assert told == [200, 401, 200]
    writer.transport.abort()

    reader, writer = await bot.open()
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * 300)
    async with asyncio.timeout(PROMPT):
        assert (await reader.read()).count(b"HTTP/1.1") < 300
    writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of an answer, which is read to its end."""
    start = await reader.readuntil(b"\r\n\r\n")
    [length] = [line for line in start.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(start.split()[1])


@pytest.mark.parametrize(
    ("size", "signed", "status"),
    [(26 * MEGABYTE, "sha256=" + "0" * 64, 413), (LARGE, "sha256=" + "0" * 64, 401), (LARGE, "none", 401)],
    ids=["too large", "signed by a stranger", "not signed"],
)
async def test_who_sends_all_of_it_before_reading_the_answer_gets_it(
    bot: Bot, size: int, signed: str, status: int
) -> None:
    for path, expected in (("/webhooks/github", status), ("/api/v1/environments/1/deploys", 401)):
        async with asyncio.timeout(PROMPT * 2):
            answer = await bot.http.post(path, content=b"x" * size, headers={"x-hub-signature-256": signed})

        assert answer.status_code == expected
        assert answer.json()["message"]


async def test_who_was_started_by_a_bot_and_outlives_it_does_not_keep_its_port(tmp_path: Path) -> None:
    nothing = Response()
    settings = Settings(data_dir=tmp_path, port=0)
    async with listening(nothing, settings) as url:
        # What uvloop starts gets all descriptors that may be inherited.
        child = await asyncio.create_subprocess_exec("sleep", "60", close_fds=False)
    try:
        async with listening(nothing, settings.model_copy(update={"port": urlsplit(url).port})) as again:
            assert again == url
    finally:
        child.kill()
        await child.wait()


@pytest.mark.parametrize("start", [b"", head()], ids=["who say nothing", "half bodies"])
@pytest.mark.parametrize("bot", [patient], indirect=True)
async def test_strangers_of_one_address_take_no_place_from_another(bot: Bot, start: bytes) -> None:
    place = urlsplit(bot.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=("127.0.0.2", 0))
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    async with besieged(bot, 600, start, 0):
        writer.write(b"\r\n")
        async with asyncio.timeout(PROMPT):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    writer.transport.abort()


async def test_a_large_payload_of_nothing_is_taken_and_the_bot_answers_meanwhile(bot: Bot) -> None:
    body = b'{"commits": [' + b"[]," * (8 * MEGABYTE) + b"[]]}"
    headers = {
        "x-github-delivery": "large",
        "x-github-event": "star",
        "x-hub-signature-256": signature(body, SECRET.encode()),
        "content-type": JSON,
    }
    before = bot.resident()
    loop = asyncio.get_running_loop()
    worst = 0.0
    large = asyncio.create_task(bot.http.post("/webhooks/github", content=body, headers=headers))
    while not large.done():
        begun, worked = loop.time(), bot.worked()
        assert (await bot.http.get("/healthz")).status_code == 200
        # Where the machine is busy with others an answer is late, and the bot has not worked meanwhile.
        worst = max(worst, min(loop.time() - begun, bot.worked() - worked))

    assert (await large).status_code == 202
    assert worst < 1.5  # json.loads alone took 4.6 s
    assert bot.resident() - before < 5 * len(body)
