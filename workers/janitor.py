"""What a killed worker left behind, and the lock that lets nobody else call it left behind."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import structlog

from config.errors import ConfigError
from workers.build import temporary_prefix
from workers.engine.engine import Engine
from workers.engine.login import places

log = structlog.get_logger()


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
        data_dir.mkdir(parents=True, exist_ok=True)
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
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"worker {worker} (process {os.getpid()})\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


async def sweep(worker: str, data_dir: Path, engine: Engine, environ: Mapping[str, str]) -> None:
    """Remove what belongs to no attempt: nothing of this worker runs yet.

    Containers that have started are the bot's to judge: a heartbeat lists them, its answer retires them.
    """
    await asyncio.to_thread(_sweep_folders, worker, data_dir, environ)
    for reference in await engine.tags(temporary_prefix(worker)):
        log.info("removing an unfinished build's image", image=reference)
        await engine.untag(reference)
    for container in await engine.containers({"worker": worker}):
        if container.status == "created":
            log.info("removing a container that never started", container=container.name)
            await engine.remove(container.id, 0)


def _sweep_folders(worker: str, data_dir: Path, environ: Mapping[str, str]) -> None:
    work = work_folder(data_dir)
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    leftovers = (*work.iterdir(), *places(environ).glob(f"{config_prefix(worker, data_dir)}*"))
    for leftover in leftovers:
        log.info("removing an old folder", folder=str(leftover))
        shutil.rmtree(leftover, ignore_errors=True)
