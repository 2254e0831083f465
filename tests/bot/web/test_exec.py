"""`blacktree exec`, from a terminal here to a real container, and what is left of it there: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import secrets
import signal
import struct
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from docker.models.containers import Container
from playwright.async_api import expect
from sqlmodel import select

from bot.jobs.specs import release_name
from bot.store.tables import Release, ReleaseState
from tests.bot.web.people import Things, Village, village
from tests.browser.chromium import PHONE, browser, window
from tests.github import GitHub
from tests.instance import BLACKTREE
from tests.parts.engine import Engine
from workers.contract.memory import MemoryQueue
from workers.contract.messages import ShellOrder
from workers.deploy.shells import Shells
from workers.engine import labels
from workers.engine.docker import DockerEngine
from workers.engine.engine import prefixed
from workers.tools import Tools

pytestmark = pytest.mark.timeout(600)
WORKER = "oak-1"


@dataclass
class Scene:
    """An environment with a container, its worker's shells, and somebody who may have one."""

    village: Village
    container: Container
    shells: Shells
    environ: dict[str, str]
    environment: int
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        given = ["exec", "production", "--repo", "acme/shop", "--url", self.village.url]
        return [str(BLACKTREE), *given, *arguments]

    async def piped(self, *arguments: str, stdout: int = PIPE) -> Process:
        pipes: dict[str, Any] = {"stdin": PIPE, "stdout": stdout, "stderr": PIPE}
        return await asyncio.create_subprocess_exec(*self.command(*arguments), env=self.environ, **pipes)

    async def until_runs(self, word: str, *, runs: bool = True) -> None:
        """Wait until a process with this word in its command is in the container, or until none is."""

        def look() -> bool:
            found: Any = self.container.top()
            return any(word in " ".join(row) for row in found["Processes"])

        await until(f"{word} to {'run' if runs else 'end'}", lambda: asyncio.to_thread(look), runs)

    async def restart(self, shells: Shells) -> None:
        """A worker that was killed, and is back."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.shells = shells
        parts = (heard(self.village.talk.queue, shells), shells.run())
        self.tasks = [asyncio.create_task(one) for one in parts]


async def heard(queue: MemoryQueue, shells: Shells) -> None:
    async for order in queue.orders(WORKER):
        assert isinstance(order, ShellOrder)
        shells.hear(order)


async def until(what: str, look: Callable[[], Any], wanted: bool = True) -> None:
    for _ in range(1200):
        if await look() is wanted:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


def shells_of(queue: MemoryQueue, engine: DockerEngine, folder: Path) -> Shells:
    tools = SimpleNamespace(worker=WORKER, engine=engine, queue=queue)
    return Shells(cast(Tools, tools), "1", folder, at_once=4)


@pytest.fixture
async def scene(
    tmp_path: Path, github: GitHub, tables: Path, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> AsyncIterator[Scene]:
    async with village(tmp_path, github, tables, monkeypatch, exec=True) as here:
        place = (await Things.made(here.talk)).environment
        async with here.talk.store.transaction() as session:
            live = select(Release).where(Release.state == ReleaseState.LIVE)
            for release in (await session.exec(live)).all():
                release.worker = WORKER
        told = {
            "worker": WORKER,
            "release": release_name(here.talk.store.instance, release),
            "process": "web",
        }
        container = await asyncio.to_thread(
            engine.client.containers.run,
            engine.base_image(),
            ["sleep", "600"],
            name=f"blacktree-shell-{secrets.token_hex(4)}",
            detach=True,
            init=True,
            labels=labels.whole(prefixed(told)),
        )
        known = DockerEngine(os.environ, WORKER)
        environ = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "TERM": "xterm-256color"}
        made = Scene(here, container, shells_of(here.talk.queue, known, tmp_path / "notes"), environ, place)
        try:
            await made.restart(made.shells)
            token = (await here.token("grace"))["authorization"].removeprefix("Bearer ")
            login = await asyncio.create_subprocess_exec(
                str(BLACKTREE), "login", here.url, env=environ, stdin=PIPE, stdout=PIPE
            )
            await login.communicate(token.encode())
            yield made
        finally:
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)
            known.close()
            await asyncio.to_thread(container.remove, force=True)


@dataclass
class Terminal:
    """A terminal in which a command runs."""

    process: Process
    ours: int
    shown: str = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def types(self, text: str, shows: str) -> None:
        """Type it, and wait for what is shown after it."""
        before = len(self.shown)
        os.write(self.ours, text.encode())
        await self.shows(shows, before)

    async def shows(self, what: str, after: int = 0) -> None:
        async def look() -> bool:
            return what in self.shown[after:]

        try:
            await until(what, look)
        except AssertionError as error:
            raise AssertionError(f"{error} in {self.shown!r}") from None


@contextlib.asynccontextmanager
async def terminal(scene: Scene, *arguments: str) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *scene.command(*arguments), env=scene.environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    there = Terminal(process, ours)

    def read() -> None:
        there.shown += os.read(ours, 65536).decode(errors="replace")

    asyncio.get_running_loop().add_reader(ours, read)
    try:
        yield there
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        asyncio.get_running_loop().remove_reader(ours)
        os.close(ours)
        os.close(theirs)


async def test_a_shell_is_as_one_here_and_nothing_of_it_stays(scene: Scene) -> None:
    async with terminal(scene) as there:
        await there.shows("/ #")
        await there.types("stty size; echo $TERM\n", "33 101\r\nxterm-256color")
        there.resize(40, 120)
        await until_size(there, "40 120")
        os.write(there.ours, b"sleep 4243\n")
        await scene.until_runs("sleep 4243")
        await there.types("\x03", "/ #")
        await there.types("echo alive-$((40+2))\n", "alive-42")
        os.write(there.ours, b"exit 7\n")
        assert await asyncio.wait_for(there.process.wait(), 60) == 7

    data = os.urandom(700_000) + b"\r\n\x00\xff\x03\x04"
    pipes = await scene.piped("web", "--", "sh", "-c", "cat; echo oops >&2; exit 3")
    out, complaint = await asyncio.wait_for(pipes.communicate(data), 60)
    assert (out == data, complaint, pipes.returncode) == (True, b"oops\n", 3)

    nowhere = await scene.piped("clock", "--", "true")
    _, complaint = await asyncio.wait_for(nowhere.communicate(), 60)
    assert (b"no container of clock runs now: these do: web" in complaint, nowhere.returncode) == (True, 255)

    # Nobody reads what it prints: it waits, and goes with whoever has it.
    unread, full = os.pipe()  # of ours: a process is not over for asyncio while its own pipes hold something
    endless = await scene.piped("--", "sh", "-c", "yes & sleep 4242", stdout=full)
    os.close(full)
    await scene.until_runs("sleep 4242")
    endless.kill()
    await endless.wait()
    os.close(unread)
    await scene.until_runs("sleep 4242", runs=False)
    await scene.until_runs("yes", runs=False)

    async def written() -> bool:
        return any("ended" in row.what and row.what.endswith("left") for row in await scene.village.audit())

    await until("the end of who left to be written down", written)
    rows = [row for row in await scene.village.audit() if "shell" in row.what]
    assert {(row.who, row.repository_id) for row in rows} == {("grace", scene.village.talk.repository.id)}
    said = "\n".join(row.what for row in rows)
    assert "opened a shell (" in said
    assert ", web: /bin/sh" in said
    assert "web: sh -c 'cat; echo oops >&2; exit 3'" in said
    for ended in ("exit code 7", "exit code 3", "left"):
        assert ended in said
    assert not [typed for typed in ("alive", "4243", "stty") if typed in said]


async def until_size(there: Terminal, size: str) -> None:
    """The signal may come before the command here listens for it: then it is sent again."""
    for _ in range(10):
        with contextlib.suppress(AssertionError):
            async with asyncio.timeout(6):
                return await there.types("stty size\n", size)
    raise AssertionError(there.shown)


async def test_a_shell_on_a_page_is_one_for_everybody_on_every_screen(scene: Scene) -> None:
    here = scene.village
    here.github.world.visitor = here.github.user("grace")
    page_url = f"{here.url}/environments/{scene.environment}/shell"
    async with browser() as opened, window(opened, viewport=PHONE, color_scheme="dark") as seen:
        page = seen.page
        await page.goto(page_url)
        await page.click("text=Sign in with GitHub")
        said, shown, line = page.get_by_role("status"), page.get_by_role("log"), page.get_by_label("Type")
        button = page.get_by_role("button", name="Open")
        await expect(said).to_have_text("not open")
        assert await seen.violations() == []

        await button.click()
        await expect(said).to_contain_text("open in")
        await expect(line).to_be_focused()
        await line.fill("stty size; echo alive-$((40+2))")
        await line.press("Enter")
        await expect(shown).to_contain_text("alive-42")
        await expect(shown).to_contain_text("24 120")
        await expect(line).to_have_value("")
        # One line without an end is shown as all else is, and nothing waits for it.
        await line.fill("yes | tr -d '\\n' | head -c 2000000; echo; echo long-$((40+2))")
        await line.press("Enter")
        await expect(shown).to_contain_text("long-42")
        await line.fill("sleep 4246")
        await line.press("Enter")
        await scene.until_runs("sleep 4246")
        await line.press("Control+c")
        await scene.until_runs("sleep 4246", runs=False)
        assert (await seen.violations(), await seen.too_wide()) == ([], 0)
        await page.emulate_media(color_scheme="light")
        assert await seen.violations() == []

        # Another, and who types at once is not too early for a script.
        await page.evaluate(
            "document.querySelector('[data-open] button').click();"
            "document.querySelector('[data-type]').requestSubmit()"
        )
        await expect(said).to_contain_text("open in")
        await line.fill("exit 3")
        await line.press("Enter")
        await expect(said).to_have_text("ended with 3")
        await expect(button).to_be_focused()
        assert seen.complaints == []
        plain = await seen.context.storage_state()
    async with browser() as opened, window(opened, java_script_enabled=False, storage_state=plain) as seen:
        await seen.page.goto(page_url)
        told = seen.page.locator("main")
        await expect(told).to_contain_text("blacktree exec production --repo acme/shop")
        await expect(seen.page.get_by_role("button", name="Open")).to_be_hidden()
