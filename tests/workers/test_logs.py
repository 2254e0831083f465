from __future__ import annotations

import asyncio
import base64
import json
from urllib.parse import quote, quote_plus

import pytest

from workers.contract.messages import LogChunk
from workers.logs import CHUNK, Bounded, LogSink
from workers.masking import Masker

SECRET = 'gh+s/"p@ss wörd&%'


def shapes() -> list[str]:
    raw = SECRET.encode()
    return [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        *(base64.b64encode(b"abc"[:n] + raw + b"tail").decode() for n in range(4)),
        base64.urlsafe_b64encode(b"x-access-token:" + raw).decode(),
    ]


def core(shape: str) -> str:
    """A middle part that only the secret decides."""
    return shape[6:-8]


@pytest.mark.parametrize("shape", shapes())
def test_a_secret_is_masked_in_every_shape(shape: str) -> None:
    masker = Masker([SECRET])
    out = masker.feed(f"before {shape} after\n") + masker.end()
    assert core(shape) not in out
    assert out.startswith("before ")
    assert out.endswith(" after\n")
    assert "***" in out


@pytest.mark.parametrize("shape", shapes())
def test_a_secret_is_masked_wherever_chunks_cut_it(shape: str) -> None:
    text = f"a {shape} b"
    whole = Masker([SECRET]).feed(text + "\n")
    for cut in range(len(text)):
        masker = Masker([SECRET])
        assert masker.feed(text[:cut]) + masker.feed(text[cut:] + "\n") + masker.end() == whole
    masker = Masker([SECRET])
    assert "".join(map(masker.feed, text + "\n")) + masker.end() == whole


def test_each_line_of_a_long_key_is_masked() -> None:
    out = Masker(["-----BEGIN-----\nabcdefgh\n-----END-----"]).feed("#5 0.1 abcdefgh\n")
    assert out == "#5 0.1 ***\n"


def test_text_that_only_begins_like_a_secret_is_kept() -> None:
    masker = Masker(["secret-1", "secret-1-longer"])
    assert masker.feed("secret-") + masker.feed("2 secret-1") + masker.end() == "secret-2 ***"


def test_without_secrets_nothing_is_held_back() -> None:
    assert Masker([]).feed("abc") == "abc"


class Told:
    def __init__(self) -> None:
        self.chunks: list[LogChunk] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, chunk: LogChunk) -> None:
        await self.open.wait()
        self.chunks.append(chunk)


async def test_offsets_count_the_characters_before() -> None:
    told = Told()
    async with LogSink(told, "j", 1).pumped() as sink:
        sink.write("ä" * (CHUNK + 10))
        sink.line("end")
    assert [chunk.offset for chunk in told.chunks] == [0, CHUNK]
    assert "".join(chunk.text for chunk in told.chunks) == "ä" * (CHUNK + 10) + "end\n"


async def test_a_line_is_told_soon() -> None:
    told = Told()
    async with LogSink(told, "j", 1).pumped() as sink:
        sink.line("hello")
        await asyncio.sleep(0.6)
        assert [chunk.text for chunk in told.chunks] == ["hello\n"]


async def test_while_the_queue_is_down_the_middle_is_dropped_and_a_line_says_so() -> None:
    told = Told()
    told.open.clear()
    async with LogSink(told, "j", 1, room=200_000).pumped() as sink:
        for number in range(100_000):
            sink.line(f"line {number}")
        told.open.set()
    text = "".join(chunk.text for chunk in told.chunks)
    assert text.startswith("line 0\n")
    assert text.endswith("line 99999\n")
    assert "lines are lost" in text
    assert len(text) < 250_000


async def test_the_end_of_a_log_is_not_waited_for_for_ever() -> None:
    told = Told()
    told.open.clear()
    async with asyncio.timeout(2):
        async with LogSink(told, "j", 1).pumped(last=0.1) as sink:
            sink.line("never told")


def test_a_bounded_text_counts_what_it_lost() -> None:
    text = Bounded(8)
    for line in ("a\n", "b\n", "c\n", "d\n", "e\n", "f\n"):
        text.put(line)
    assert text.take(4) == "a\nb\n"
    assert text.take(1000) == "\n… 2 lines are lost: the bot could not be reached …\ne\nf\n"
