"""`blacktree backup` and `restore`: the store in one file, made while the bot runs, and put back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from bot.cli.roles import BOT
from config import private
from config.errors import ConfigError
from config.logging import configure
from config.settings import Settings
from config.sources import load

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bot.store.archive import Manifest
    from bot.store.backup import Held

_KEY = "secret.key"

Target = Annotated[Path, typer.Argument(metavar="FILE", help="where to; - for standard output")]
Source = Annotated[Path, typer.Argument(metavar="FILE", help="a backup; - for standard input")]
Logs = Annotated[bool, typer.Option("--logs", help="with the logs of jobs")]
WithKey = Annotated[bool, typer.Option("--with-key", help="with the key that opens its secrets")]
Replace = Annotated[bool, typer.Option("--replace", help="give up what the database has")]
File = Annotated[Path | None, typer.Option("--config", help="the TOML file with settings")]


def backup(file: Target, logs: Logs = False, with_key: WithKey = False, config: File = None) -> None:
    """Write all that the store has into one file. The bot goes on meanwhile."""
    settings = _settings(config)
    key = settings.data_dir / _KEY
    if with_key and not key.exists():
        raise ConfigError(f"--with-key: there is no {key}: {_kept(settings)}")
    store, writing = BOT.part("store.database").Store(settings.store_url), BOT.part("store.backup")
    folder = settings.data_dir / "logs"
    try:
        with _into(file) as out:
            held = writing.write(store, out, logs=folder if logs else None, key=key if with_key else None)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror or error}") from None
    _say(f"{file}: {_told(held)}")
    if not held.key:
        _say(f"Its secrets are sealed. Keep what opens them too, at another place: {_kept(settings)}")


def restore(file: Source, replace: Replace = False, config: File = None) -> None:
    """Put what a backup has into a database that is empty. Stop the bot first."""
    settings = _settings(config)
    store, reading = BOT.part("store.database").Store(settings.store_url), BOT.part("store.restore")
    restored = BOT.part("jobs.restored")
    logs, key = settings.data_dir / "logs", settings.data_dir / _KEY
    running: dict[str, int] = {}

    def go_on(connection: Connection, made: Manifest) -> None:
        running.update(restored.go_on(connection, made.created_at))

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _from(file, settings.data_dir) as source:
            held = reading.restore(store, source, str(file), logs=logs, key=key, replace=replace, go_on=go_on)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be restored: {error.strerror or error}") from None
    _forget_later(logs, running)
    _say(f"{store.description}: as it was at {held.manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, {_told(held)}")
    if settings.secret_key is None and not key.exists():
        _say(f"Before the bot starts, put back {key}, or set SECRET_KEY: without it no secret can be opened")


def _forget_later(logs: Path, running: dict[str, int]) -> None:
    """Attempts that came after the backup are given anew: what those told is not the start of these logs."""
    for job, attempt in running.items():
        for file in (logs / job).glob("*.log"):
            if file.stem.isdigit() and int(file.stem) > attempt:
                file.unlink()


@contextlib.contextmanager
def _into(file: Path) -> Iterator[IO[bytes]]:
    """What is written here is `file`, for its owner alone, when all is written; else nothing stays."""
    if str(file) == "-":
        if sys.stdout.isatty():
            raise ConfigError("-: standard output is a terminal: send it to a file or a program")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    draft = file.with_name(f".{file.name}.part")
    descriptor = os.open(draft, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out, _ending_by_signal():
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{file}: another backup is being written there") from None
        try:
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
            yield out
            out.flush()
            os.fsync(descriptor)
            draft.replace(file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _ending_by_signal() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _from(file: Path, folder: Path) -> Iterator[IO[bytes]]:
    """The backup, which is read more than once: what comes on standard input is kept meanwhile."""
    if str(file) != "-":
        try:
            with file.open("rb") as source:
                yield source
        except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
            if error.filename != str(file):
                raise
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
        return
    with tempfile.TemporaryFile(dir=folder) as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept)
        yield kept


def _settings(file: Path | None) -> Settings:
    settings = load(file=file)
    configure(settings.log_format, quiet=True)
    private.keep()
    return settings


def _kept(settings: Settings) -> str:
    """What opens the store's secrets, and where it is."""
    given, file = settings.secret_key is not None, settings.data_dir / _KEY
    places = [*(["what SECRET_KEY is set to"] if given else []), *([str(file)] if file.exists() else [])]
    return " and ".join(places) or "there is none yet"


def _told(held: Held) -> str:
    parts = [f"{held.rows} rows of revision {held.manifest.revision}"]
    parts += [f"{held.logs} logs"] if held.logs else []
    parts += ["the key"] if held.key else []
    return ", ".join(parts)


def _say(text: str) -> None:
    typer.echo(text, err=True)
