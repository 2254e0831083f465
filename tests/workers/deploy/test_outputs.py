"""What a worker tells of what its containers print and use."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import cast

import pytest
from docker.errors import NotFound

from config.settings import Settings
from tests.parts.engine import Engine
from tests.workers.bot import Bot
from tests.workers.deploy.test_deploy import spec
from tests.workers.deploy.test_watch import one
from workers.contract.messages import Credentials, Measured, Noted, Printed, Reached, Succeeded
from workers.contract.outputs import LONGEST, Line
from workers.contract.queue import QueueDown
from workers.deploy import outputs, samples
from workers.deploy.outputs import DEAD, LATE, RATE, SOON, masked, pause
from workers.engine.engine import Container
from workers.engine.printed import PrintedLine
from workers.engine.used import Used
from workers.output.masking import Masker
from workers.tools import Tools


@pytest.fixture
def settings(tmp_path: Path, name: str) -> Settings:
    return Settings(data_dir=tmp_path / "data", worker_name=name, lease=60, shutdown=5, firewall=False)


@pytest.mark.parametrize(
    ("before", "size", "running", "seconds"),
    [
        (SOON, 10, True, SOON),
        (LATE, 1, True, SOON),
        (SOON, 10 * RATE, True, 10.0),
        (SOON, 0, True, 1.5),
        (LATE, 0, True, LATE),
        (LATE, 0, False, 4.5),
        (DEAD, 0, False, DEAD),
    ],
)
def test_who_prints_is_looked_at_soon_and_who_prints_too_much_late(
    before: float, size: int, running: bool, seconds: float
) -> None:
    assert pause(before, size, running=running) == seconds


def lines(*numbers: int) -> list[PrintedLine]:
    return [PrintedLine(at, f"line {at}") for at in numbers]


@pytest.mark.parametrize(
    ("read", "since", "told"),
    [
        ([], 5, []),
        (lines(5), 5, []),
        (lines(4, 5, 6), 5, ["line 6"]),
        (lines(1, 2), 0, ["line 1", "line 2"]),
        (lines(8, 9), 5, ["[lines are missing here: more was printed than is told]", "line 9"]),
    ],
)
def test_what_joins_is_told_and_what_does_not_is_told_to_be_missing(
    read: list[PrintedLine], since: int, told: list[str]
) -> None:
    found = masked(read, since, Masker(()))
    assert [line.text for line in found] == told
    assert [line.note for line in found] == [text.startswith("[") for text in told]
    assert all(line.at > since for line in found), "the bot takes what is after what it has"


def test_the_rest_of_a_line_whose_beginning_is_missing_is_not_told_as_it_may_end_a_secret() -> None:
    read = [PrintedLine(8, "rect-horse is the password"), PrintedLine(9, "correct-horse")]
    found = masked(read, 5, Masker({"correct-horse"}))
    assert [(line.at, line.note, "horse" in line.text) for line in found] == [
        (8, True, False),
        (9, False, False),
    ]


def test_a_line_is_masked_and_cleaned_and_has_an_end() -> None:
    found = masked(
        [PrintedLine(1, "\x1b[31mPASSWORD=correct-horse\x1b[0m\x07"), PrintedLine(2, "x" * 50_000)],
        0,
        Masker({"correct-horse"}),
    )
    assert found[0] == Line(at=1, text="PASSWORD=***")
    assert (len(found[1].text), found[1].text[-1]) == (LONGEST, "…")


def test_one_message_has_as_much_as_it_may() -> None:
    found = masked([PrintedLine(at, "x" * 10_000) for at in range(1, 100)], 0, Masker(()))
    assert [line.at for line in found] == list(range(1, 40))


class Ears:
    """An engine and a bot in one: containers by their id, with what they printed."""

    def __init__(self, **printed: list[PrintedLine] | None) -> None:
        self.engine = self.queue = self
        self.worker = "one"
        self.printing = printed
        self.heard: dict[str, list[Line]] = {}

    async def printed(self, container: str, since: int, _lines: int) -> list[PrintedLine]:
        found = self.printing[container]
        if found is None:
            raise RuntimeError("its logging driver does not support reading")
        return [line for line in found if line.at >= since]

    async def used(self, container: str) -> Used:
        return Used(float(len(await self.printed(container, 0, 0))), 1, 1, 0, 0)

    async def request(self, said: Printed | Measured, _patience: float) -> Reached | Noted:
        if isinstance(said, Measured):
            self.heard |= {sample.whose.container: [] for sample in said.samples}
            return Noted()
        for output in said.outputs:
            self.heard.setdefault(output.whose.container, []).extend(output.lines)
        return Reached(at={id_: lines[-1].at if lines else 0 for id_, lines in self.heard.items()})

    def containers(self) -> list[Container]:
        return [Container(id_, id_, {}, "running", 0, 0, False, None) for id_ in self.printing]


async def test_one_container_that_cannot_be_read_keeps_no_other_from_being_told() -> None:
    ears = Ears(bad=None, good=lines(1, 2))
    told = outputs.Outputs(cast(Tools, ears), ears.containers)
    await told._round()
    await told._round()
    assert [line.at for line in ears.heard["good"]] == [1, 2]
    assert ears.heard["bad"] == []

    ears.heard.clear()
    used = samples.Samples(cast(Tools, ears), ears.containers)
    assert await used._look() == []
    assert [sample.whose.container for sample in await used._look()] == ["good"]


async def test_a_line_that_fills_all_that_is_read_at_once_keeps_nothing_from_being_told() -> None:
    class Long(Ears):
        """Its line 2 fills every answer that has it."""

        async def printed(self, container: str, since: int, many: int) -> list[PrintedLine]:
            found = [line for line in self.printing[container] or () if line.at >= since]
            found = found[-2:] if many else found
            return found[:1] if found and found[0].at == 2 else found

    ears = Long(long=lines(2))
    told = outputs.Outputs(cast(Tools, ears), ears.containers)
    await told._round()
    await told._round()
    ears.printing["long"] = lines(2, 3, 4, 5)
    told._sources["long"].due = 0.0
    await told._round()

    assert [(line.at, line.note) for line in ears.heard["long"]] == [(2, False), (4, True), (5, False)]


async def test_last_words_wait_for_a_bot_that_is_away_and_are_told_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ears = Ears(gone=lines(1, 2))
    told = outputs.Outputs(cast(Tools, ears), ears.containers)
    await told._round()
    ears.printing["gone"] = lines(1, 2, 3)
    await told.last("gone")
    ears.printing.clear()

    async def away(*_: object) -> None:
        raise QueueDown("away")

    with monkeypatch.context() as patched:
        patched.setattr(ears, "request", away)
        with pytest.raises(QueueDown):
            await told._round()
    await told._round()
    assert [line.at for line in ears.heard["gone"]][-1] == 3
    assert not told._parted


@pytest.mark.usefixtures("worker")
async def test_what_a_container_prints_and_uses_is_told_masked_and_its_last_words_too(
    bot: Bot, engine: Engine, base: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that were not told while the bot did not hear are told afterwards, also of what is gone."""
    monkeypatch.setattr(outputs, "_AWAY", 0.2)
    monkeypatch.setattr(outputs, "_PATIENCE", 60.0)  # however busy this machine is
    monkeypatch.setattr(samples, "EVERY", 0.5)
    bot.credentials = Credentials(env={"PASSWORD": "correct-horse"})
    script = (
        "trap 'echo last words; exit' TERM; mkfifo /say; echo with $PASSWORD; httpd -p 8080 -h /;"
        " while true; do read said < /say && echo $said; done 2> /dev/null"
    )
    ended = await bot.run("r1", spec(base, "r1", script))
    assert isinstance(ended.result, Succeeded), bot.log("r1")
    container = one(engine, name)

    def texts() -> list[str]:
        return [line.text for line in bot.printed.get(container.id or "", [])]

    await bot.until(lambda: texts() == ["with ***"])
    sample = (await bot.until(lambda: bot.samples))[-1]
    assert (sample.whose.container, sample.whose.process, sample.whose.release) == (container.id, "web", "r1")
    assert sample.limit == 64 * 2**20 > sample.memory > 0
    assert 0 <= sample.cpu < sample.seconds
    bot.deaf = True
    flood = "i=0; while [ $i -lt 6000 ]; do echo line $i; i=$((i+1)); done > /proc/1/fd/1"
    await asyncio.to_thread(container.exec_run, ["sh", "-c", "echo hello > /say"])
    async with asyncio.timeout(90):
        while b"hello" not in await asyncio.to_thread(container.logs):  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.05)
    await asyncio.to_thread(container.exec_run, ["sh", "-c", flood])
    bot.retired = ["r1"]
    await bot.nudge(name)
    with contextlib.suppress(NotFound):  # it is gone already
        await asyncio.to_thread(container.wait, condition="removed")
    assert texts() == ["with ***"]
    bot.deaf = False

    await bot.until(lambda: "last words" in texts(), 120)
    assert texts() == ["with ***", "hello", *(f"line {number}" for number in range(6000)), "last words"]
