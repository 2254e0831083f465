from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.process import process

ENV = {"PATH": os.environ["PATH"]}


def alive(marker: str) -> list[str]:
    """Command lines of living processes that contain `marker`."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if marker in line:
                found.append(line)
    return found


async def gone(marker: str) -> None:
    """Returns once there is none. What is killed may have to wait for its turn to end."""
    async with asyncio.timeout(10):
        while alive(marker):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_exit_code_and_the_merged_output_are_returned() -> None:
    lines: list[str] = []
    ended = await process.run(["sh", "-c", "echo out; echo err >&2; exit 3"], env=ENV, output=lines.append)
    assert (ended.code, "".join(lines), ended.tail) == (3, "out\nerr\n", "out\nerr\n")


async def test_a_program_that_is_not_there_is_said() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        await process.run(["no-such-program"], env=ENV)


@pytest.mark.parametrize("trap", ["", "trap '' TERM;"])
async def test_a_cancelled_process_leaves_neither_itself_nor_its_children(trap: str) -> None:
    marker = f"0.{time.monotonic_ns()}"
    script = f"{trap} (while :; do sleep 1{marker}; done) & while :; do sleep 1{marker}; done"
    running = asyncio.create_task(process.run(["sh", "-c", script], env=ENV))
    while len(alive(marker)) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await gone(marker)


async def test_a_time_out_kills_it() -> None:
    marker = f"9.{time.monotonic_ns()}"
    with pytest.raises(TimeoutError):
        await process.run(["sleep", marker], env=ENV, timeout=0.2)
    assert alive(marker) == []


async def test_a_grandchild_that_holds_the_output_open_does_not_delay_the_end() -> None:
    async with asyncio.timeout(40):
        ended = await process.run(["sh", "-c", "sleep 60 & echo done"], env=ENV)
    assert ended.tail == "done\n"


async def test_a_line_of_a_hundred_megabytes_takes_no_memory() -> None:
    count = 0

    def take(block: str) -> None:
        nonlocal count
        assert len(block) <= 2 * process.BLOCK
        count += len(block)

    tracemalloc.start()
    try:
        ended = await process.run(["head", "-c", "100000000", "/dev/zero"], env=ENV, output=take)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 100_000_001
    assert len(ended.tail) == 64 * 1024
    assert peak < 8_000_000


async def test_output_comes_in_blocks_of_whole_lines_and_the_tail_is_its_end() -> None:
    blocks: list[str] = []
    ended = await process.run(["seq", "300000"], env=ENV, output=blocks.append)
    whole = "".join(f"{number}\n" for number in range(1, 300_001))
    assert "".join(blocks) == whole
    assert all(block.endswith("\n") for block in blocks)
    assert len(blocks) < 1000
    assert whole.endswith("\n" + ended.tail)
    assert 60_000 < len(ended.tail) <= 64 * 1024


@given(
    st.binary(max_size=80) | st.text(st.sampled_from("aü🚀\n"), max_size=60).map(str.encode),
    st.lists(st.integers(0, 80), max_size=6),
)
def test_blocks_are_the_text_however_it_is_cut(said: bytes, cuts: list[int]) -> None:
    blocks = process.Blocks()
    ends = sorted({min(cut, len(said)) for cut in cuts} | {0, len(said)})
    pieces = [said[start:end] for start, end in pairwise(ends)]
    given = [*map(blocks.feed, pieces), blocks.end()]
    assert all(block.endswith("\n") for block in given if block)
    assert "".join(given).removesuffix("\n") == said.decode(errors="replace").removesuffix("\n")


def test_no_descriptor_is_closed_twice_when_it_may_be_another_threads_already() -> None:
    script = Path(__file__).with_name("descriptors.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=170, check=False)
    assert (done.returncode, done.stdout) == (0, "none lost\n"), done.stderr[-2000:]


async def test_a_killed_worker_leaves_no_child() -> None:
    marker = f"7.{time.monotonic_ns()}"
    code = (
        "import asyncio, os; from workers.process import process;"
        f"asyncio.run(process.run(['sleep', '{marker}'], env=dict(os.environ)))"
    )
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", code)
    async with asyncio.timeout(90):
        while not any(line.startswith("sleep") for line in alive(marker)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        worker.kill()
        await worker.wait()
        while alive(marker):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
