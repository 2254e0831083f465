"""The terminal of whoever has a shell: as before afterwards, and told what went wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from bot.cli.remote import terminal
from workers.contract.shells import Wanted

_CODE = """
import asyncio, signal
from bot.cli.remote.terminal import _raw

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which who runs the tests may ignore

async def main():
    with _raw():
        print("raw", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_it_and_the_terminal_shows_what_is_typed_again(number: signal.Signals) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CODE, stdin=theirs, stdout=theirs, stderr=theirs
    )
    try:
        assert b"raw" in await asyncio.to_thread(os.read, ours, 1000)
        assert not termios.tcgetattr(ours)[3] & termios.ECHO
        process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 30) == -number
        assert termios.tcgetattr(ours)[3] & termios.ECHO
        assert termios.tcgetattr(ours)[3] & termios.ICANON
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    "command",
    [["x"] * 1001, ["x" * 32_001], ["x" * 30_000] * 3, ["\udcff"]],
    ids=["many", "long", "all", "bytes"],
)
def test_a_command_line_that_no_bot_takes_is_told_with_what_to_do_instead(command: list[str]) -> None:
    with pytest.raises(terminal.Broken, match="by its input"):
        terminal.wants(command, "web", interactive=False)


async def test_a_disk_that_is_full_here_is_not_taken_for_a_bot_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def printed() -> AsyncIterator[bytes]:
        yield b"\x01a dump"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(terminal, "_print", full)
    shell = terminal.Shell(cast(Any, printed()), Wanted(tty=False))
    with pytest.raises(terminal.Broken, match="cannot be written here: No space left on device"):
        await shell.run()
