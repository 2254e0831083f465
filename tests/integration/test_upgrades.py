"""Bot and workers of two versions, each a wheel of its own, as an upgrade has them for a while."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tarfile import TarFile

import pytest

from tests.instance import BLACKTREE, Process
from tests.integration.conftest import PAGE, Developer
from tests.integration.test_truths import DEPLOY
from tests.integration.test_truths import _fleet as fleet_of
from tests.parts.broker import Broker
from tests.parts.registry import Registry
from workers.contract.messages import VERSION

ROOT = Path(__file__).parents[2]
# The first one of this contract. Who raises its version names a later one.
OLDER = "67b2c20419dd04b460b627b2c2971efab90b4e05"


def of_the_older_commit(source: Path) -> None:
    archive = subprocess.run(["git", "archive", OLDER], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        pytest.skip(f"this checkout has no history: {archive.stderr.decode().strip()}")
    with TarFile(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(source, filter="data")


def program(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The console script of a wheel that is built of what `fill` makes, with this environment's libraries."""
    source, installed = folder / "source", folder / "installed"
    fill(source)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=source, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(installed)], check=True)
    script = folder / "blacktree"
    path = f"import sys\nsys.path.insert(0, {str(installed)!r})"
    script.write_text(f"#!{sys.executable}\n{path}\nfrom bot.cli import main\nmain()\n")
    script.chmod(0o755)
    return script


def of_the_next_contract(source: Path) -> None:
    """As this checkout is, but for the number."""
    for name in ("bot", "workers", "config"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    words = source / "workers/contract/words.py"
    text = words.read_text().replace(f"VERSION: Final = {VERSION}", f"VERSION: Final = {VERSION + 1}")
    words.write_text(text.replace(f"Literal[{VERSION}]", f"Literal[{VERSION + 1}]"))


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("older"), of_the_older_commit)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(tmp_path_factory.mktemp("later"), of_the_next_contract)


@pytest.mark.parametrize("first", ["serve", "worker"])
async def test_bot_and_worker_are_upgraded_one_after_the_other(
    developer: Developer, tmp_path: Path, broker: Broker, registry: Registry, older: Path, first: str
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry) as fleet:
        await fleet.start_of(older, "serve")
        await fleet.ready()
        await fleet.start_of(older, "worker")
        await _goes_live(developer, "before")

        for command in (first, {"serve": "worker", "worker": "serve"}[first]):
            (old,) = (process for process in fleet.processes if process.command == command)
            assert await old.stop() == 0
            fleet.processes.remove(old)
            await fleet.start(command)
            await fleet.ready()
            await _goes_live(developer, f"{command} upgraded")
            assert "Traceback" not in old.said()
        assert not any("Traceback" in process.said() for process in fleet.processes)


@pytest.mark.parametrize(
    ("newer", "upgraded", "spoken"),
    [("worker", "bot", VERSION + 1), ("serve", "worker", VERSION)],
    ids=["newer worker", "newer bot"],
)
async def test_of_two_contracts_the_worker_says_which_is_to_be_upgraded_and_jobs_wait(
    developer: Developer,
    tmp_path: Path,
    broker: Broker,
    registry: Registry,
    later: Path,
    newer: str,
    upgraded: str,
    spoken: int,
) -> None:
    async with fleet_of(developer.github, tmp_path, broker, registry) as fleet:
        programs = {"serve": BLACKTREE, "worker": BLACKTREE, newer: later}
        bot = await fleet.start_of(programs["serve"], "serve")
        await fleet.ready()
        worker = await fleet.start_of(programs["worker"], "worker")
        sha = await developer.push({PAGE: "waits"})

        told = f"worker worker speaks version {spoken} of the contract between bot and workers"
        for process in (worker, bot):
            await fleet.until(partial(_says, process, told), f"{process.command} to say")
            assert f"upgrade the {upgraded}" in process.said()
            assert "Traceback" not in process.said()
        assert (await fleet.job("build", "queued"))["attempt"] == 0

        (old,) = (process for process in (bot, worker) if process.command != newer)
        await old.stop()
        fleet.processes.remove(old)
        await fleet.start_of(later, old.command)
        await developer.status(sha, DEPLOY, "success")


async def _goes_live(developer: Developer, page: str) -> None:
    sha = await developer.push({PAGE: page})
    await developer.status(sha, DEPLOY, "success")


async def _says(process: Process, words: str) -> bool:
    return words in process.said()
