"""Sets the demo up, lets the story happen, and clears all of it away."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2

from config.trust import trusted
from tests.demo import checks, processes
from tests.demo.base import BASE
from tests.demo.bot import Bot
from tests.demo.checks import Check
from tests.demo.invitation import invitation
from tests.demo.machine import Machine
from tests.demo.screen import Line, Screen
from tests.demo.story import SAMPLE, Story
from tests.demo.waiting import DemoFailed
from tests.demo.watch import Watcher
from tests.github import GitHub
from tests.github.git import GitError

REPOSITORY = "acme/hello"
INTERRUPTED = 130  # as a shell tells it
_TAIL = 25  # lines of the log, when something broke


async def demo(*, once: bool) -> int:
    """The whole of it; returns the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-demo-"))
    try:
        async with (
            GitHub.running(folder / "github") as github,
            httpx2.AsyncClient(verify=trusted(), trust_env=False, timeout=30) as http,
        ):
            return await Stage(folder, github, http, once=once).perform()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Stage:
    """Everything that one demo has."""

    def __init__(self, folder: Path, github: GitHub, http: httpx2.AsyncClient, *, once: bool) -> None:
        self._once = once
        self._folder = folder
        self._github = github
        self._screen = Screen(chapters=5 if once else 4)
        self._machine = Machine()
        self._bot = Bot(folder, f"demo-{secrets.token_hex(3)}", http)
        self._http = http
        self._story: Story | None = None
        # No other demo has this worker, nor a repository at this address.
        self._machine.labels = [
            f"io.blacktree.worker={self._bot.name}",
            f"org.opencontainers.image.source={github.url}/{REPOSITORY}",
        ]
        self._told = False
        self._log_shown = False

    async def perform(self) -> int:
        """The exit code, when all is over and cleared away."""
        with self._screen.live():
            acting = asyncio.create_task(self._act())
            with self._interrupting(acting) as interrupted:
                await asyncio.wait({acting})
                broken = self._broken(acting, interrupted.is_set())
                seen = checks.of_the_story(self._story, self._github)
                left = await self._clear_away()
        if interrupted.is_set():
            seen = []
        bad = [check for check in (*seen, *left) if check.found]
        self._show([*seen, *left] if self._once and not interrupted.is_set() else bad)
        if broken or (bad and self._once) or any(check.found for check in left):
            return 1
        return INTERRUPTED if interrupted.is_set() and not self._told else 0

    async def _act(self) -> None:
        """Up to the end of the story; then, unless this is `--once`, until it is cancelled."""
        screen, github = self._screen, self._github
        screen.chapter("The stage")
        await self._engine()
        files = {file.name: file.read_bytes() for file in SAMPLE.iterdir()}
        hello = await github.create_repository(REPOSITORY, files, collaborators={"ada": "write"})
        github.install_app(hello)
        self._demo_says(
            f"GitHub stand-in (tests/github) at {github.url} with {REPOSITORY}, the App installed"
        )
        watcher = Watcher(screen, self._bot, github.subscribe())
        await self._bot.start(github)
        self._demo_says(f"[bold]blacktree up[/] is ready at {self._bot.url}; its log: {self._bot.log}")
        ada = github.user("ada")
        work = await hello.clone(self._folder / "hello", ada)
        story = Story(screen, github, self._bot, self._machine, self._http, hello, ada, work)
        self._story = story
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(one) for one in (watcher.github(), watcher.runs(), self._bot.ended())]
            await story.tell()
            if self._once:
                await story.close_pull()
                await watcher.catch_up()
                for task in beside:
                    task.cancel()
                return
            self._told = True
            for line in await invitation(self._folder, github, self._bot, story.seen, work, ada):
                screen.plain(line)
            screen.wait_for("up, until Ctrl-C")

    async def _engine(self) -> None:
        self._screen.wait_for("the Docker engine")
        how = "started, and stopped again at the end" if await self._machine.start() else "it was there"
        self._demo_says(f"Docker engine: {how}")
        self._screen.wait_for(f"the base image {BASE}")
        made = await self._machine.base_image()
        self._demo_says(f"base image {BASE}: {f'{made}, and removed at the end' if made else 'it was there'}")
        self._screen.wait_for(None)

    def _broken(self, acting: asyncio.Task[None], interrupted: bool) -> bool:
        """Whether the demo itself broke, which is then said."""
        self._screen.ongoing(())
        self._screen.wait_for(None)
        if interrupted or acting.cancelled() or (error := acting.exception()) is None:
            return False
        self._screen.plain()
        for one in _leaves(error):
            plain = isinstance(one, DemoFailed | GitError)
            self._screen.literal(
                f"The demo broke: {one}" if plain else f"The demo broke: {one!r}", "bold red"
            )
        self._show_log()
        return True

    def _show_log(self) -> None:
        self._log_shown = True
        if lines := self._bot.last_lines(_TAIL):
            self._screen.literal("The end of Blacktree's log:", "red")
            self._screen.literal("\n".join(lines), "dim")

    async def _clear_away(self) -> list[Check]:
        """Blacktree, what it ran, the engine if it was started, the folder; what of it is left."""
        self._screen.plain()
        self._screen.wait_for("clearing away")
        stop = await self._bot.stop()
        if stop and not self._log_shown:
            self._show_log()
        engine = await self._machine.clean()
        left = await asyncio.to_thread(processes.using, self._bot.data)
        processes.kill(left)
        await asyncio.to_thread(shutil.rmtree, self._folder, True)
        self._screen.wait_for(None)
        shown = checks.of_what_is_left(stop, engine, list(left.values()), self._folder.exists())
        clean = not any(check.found for check in shown)
        self._demo_says("all cleared away" if clean else "[red]not all of it could be cleared away[/]")
        return shown

    def _show(self, shown: list[Check]) -> None:
        self._screen.plain()
        for check in shown:
            self._screen.literal(
                f"{'✗' if check.found else '✓'} {check.claim}", "red" if check.found else "green"
            )
            if check.found:
                self._screen.literal(f"  but: {check.found}", "red")

    @contextlib.contextmanager
    def _interrupting(self, acting: asyncio.Task[None]) -> Iterator[asyncio.Event]:
        """SIGINT and SIGTERM end the acting; clearing away is not interrupted."""
        loop, interrupted = asyncio.get_running_loop(), asyncio.Event()

        def interrupt() -> None:
            if interrupted.is_set() or acting.done():
                self._demo_says("still clearing away, a moment")
                return
            interrupted.set()
            acting.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
        try:
            yield interrupted
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _demo_says(self, text: str) -> None:
        self._screen.say(Line("demo", text))


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]
