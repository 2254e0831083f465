"""What a killed worker left behind, what nothing needs any more, and the lock that makes both ours."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from config.errors import ConfigError
from config.outages import told
from config.settings import Settings
from workers.attempt import Attempt
from workers.build.build import temporary_prefix, temporary_tag
from workers.contract.messages import AttemptRef, DeploySpec, UpdateSpec
from workers.deploy import networks
from workers.engine.engine import PREFIX, Container, Engine
from workers.engine.login import places
from workers.upkeep.disk import SHARES, Budgets, Needed, doomed, people
from workers.upkeep.room import Room

log = structlog.get_logger()

_ROUNDS = 5 * 60.0  # seconds between two rounds
_AGAIN = 10.0  # seconds, while there is no room
# Seconds in which an image that was built, or used by a container, becomes known to the bot as needed.
_SETTLED = 10 * 60.0

# Given a budget in bytes; which mirrors went.
PruneMirrors = Callable[[int], Awaitable[list[str]]]


def work_folder(data_dir: Path) -> Path:
    """Where the attempts' folders are."""
    return data_dir / "work"


def config_prefix(worker: str, data_dir: Path) -> str:
    """What the names of a worker's temporary docker configurations start with."""
    return f"blacktree-{hashlib.sha256(f'{worker} {data_dir}'.encode()).hexdigest()[:10]}-"


@contextlib.contextmanager
def alone(worker: str, data_dir: Path) -> Iterator[None]:
    """Only one worker works in `data_dir`. Raises ConfigError in the second."""
    file = data_dir / "worker.lock"
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"BLACKTREE_DATA_DIR: {data_dir} cannot be written: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(descriptor, 200).decode(errors="replace").strip() or "a worker"
            raise ConfigError(
                f"{data_dir} is in use by {other}: set BLACKTREE_DATA_DIR (and BLACKTREE_WORKER_NAME) to"
                " something else for a second worker on this machine"
            ) from None
        with contextlib.suppress(OSError):  # a full disk: it is told to people only, and the lock is taken
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"worker {worker} (process {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


async def sweep(worker: str, data_dir: Path, engine: Engine, environ: Mapping[str, str]) -> None:
    """Remove what belongs to no attempt: nothing of this worker runs yet.

    Containers of releases that have started are the bot's to judge: a heartbeat lists them, its answer
    retires them.
    """
    await asyncio.to_thread(_sweep_configs, worker, data_dir, environ)
    await _sweep_folders(data_dir, tuple)
    for container in await engine.commands():
        await _remove(engine, container)
    for container in await engine.containers({"worker": worker}):
        if container.status == "created":
            await _remove(engine, container)
    for reference in await engine.tags(temporary_prefix(worker)):  # a container would hold on to its image
        await _untag(engine, reference)
    await networks.sweep(worker, engine)


async def _sweep_folders(data_dir: Path, running: Callable[[], Collection[Attempt]]) -> None:
    """Who runs is asked for after the folders were listed: an attempt that has just begun has none there."""
    folders = await asyncio.to_thread(_folders, data_dir)
    alive = {attempt.folder for attempt in running()}
    for folder in folders:
        if folder not in alive:
            log.info("removing an old folder", folder=str(folder))
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _folders(data_dir: Path) -> list[Path]:
    work = work_folder(data_dir)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    return list(work.iterdir())


async def _untag(engine: Engine, reference: str) -> None:
    log.info("removing an unfinished build's image", image=reference)
    await engine.untag(reference)


async def _remove(engine: Engine, container: Container) -> None:
    log.info("removing a container that no attempt needs", container=container.name)
    await engine.remove(container.id, 0)


def _sweep_configs(worker: str, data_dir: Path, environ: Mapping[str, str]) -> None:
    for leftover in places(environ).glob(f"{config_prefix(worker, data_dir)}*"):
        log.info("removing an old folder", folder=str(leftover))
        shutil.rmtree(leftover, ignore_errors=True)


class Janitor:
    """Keeps the disk of a worker within its budgets, and makes room when a job lacks it."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        room: Room,
        running: Callable[[], Collection[Attempt]],
        over: set[AttemptRef],
        needed: Callable[[], Needed | None],
        prune_mirrors: PruneMirrors,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._room = room
        self._running = running
        self._over = over
        self._needed = needed
        self._prune_mirrors = prune_mirrors

    async def run(self) -> None:
        """Make rounds until cancelled: every few minutes, and at once when space is short."""
        while True:
            try:
                await self.round()
            except Exception as error:
                told(log, "the disk is not looked after", error)
                await asyncio.sleep(_AGAIN)
            if self._room.problem:
                await asyncio.sleep(_AGAIN)
            else:
                await self._room.wanted(_ROUNDS)

    async def round(self) -> None:
        """Prune down to the budgets, and further while there is no space for a job. Raises EngineDown."""
        budgets = Budgets.of(self._settings)
        engine = mirrors = True
        try:
            await self._sweep()
            for share in SHARES:
                await self._prune(budgets.share(share), engine=engine, mirrors=mirrors)
                short = await self._room.short()
                engine, mirrors = any(place.engine for place in short), any(place.worker for place in short)
                if not short:
                    break
        finally:
            self._room.tried()
        await self._room.judge()

    async def _sweep(self) -> None:
        """Remove what attempts could not, because the engine did not answer when they ended."""
        worker, data_dir, over = self._settings.worker, self._settings.data_dir, set(self._over)
        await _sweep_folders(data_dir, self._running)
        if over:
            ends = tuple(temporary_tag(worker, ref) for ref in over)
            for reference in await self._engine.tags(temporary_prefix(worker)):
                if reference.endswith(ends):
                    await _untag(self._engine, reference)
            owners = {(ref.job, str(ref.attempt)) for ref in over}
            for container in await self._engine.commands():
                if tuple(container.labels.get(PREFIX + part) for part in ("job", "attempt")) in owners:
                    await _remove(self._engine, container)
        if not any(isinstance(attempt.spec, (DeploySpec, UpdateSpec)) for attempt in self._running()):
            await networks.leave(worker, self._engine)
        await networks.sweep(worker, self._engine)
        self._over -= over

    async def _prune(self, budgets: Budgets, *, engine: bool, mirrors: bool) -> None:
        if mirrors:
            for mirror in await self._prune_mirrors(budgets.mirrors):
                log.info("removed a mirror", mirror=mirror)
        if engine:
            await self._prune_images(budgets.images)
            if freed := await self._engine.prune_cache(budgets.cache):
                log.info("removed cached layers", freed=people(freed))

    async def _prune_images(self, budget: int) -> None:
        """Nothing goes before the bot has said what is needed, and nothing when it said so long ago."""
        needed = self._needed()
        now = asyncio.get_running_loop().time()
        if needed is None or not needed.instance or now - needed.heard > self._settings.lease:
            return
        specs = [attempt.spec for attempt in self._running() if isinstance(attempt.spec, DeploySpec)]
        starting = {spec.image for spec in specs}
        for spec in specs:
            starting |= {one.pinned or one.image for one in (spec.services.wanted if spec.services else ())}
        images = await self._engine.images()
        settled = datetime.now(UTC) - timedelta(seconds=_SETTLED)
        for image in images:
            if image.busy and image.used < settled:
                await self._engine.note_use(image)
        for image in doomed(images, needed.instance, needed.references | starting, budget, settled):
            log.info("removing an image", image=image.id, names=image.references, size=people(image.size))
            await self._engine.remove_image(image.id)
