"""PostgreSQL: a cluster of its own."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from tests.parts.part import Part, require


class Postgres(Part):
    """An empty cluster at the first start; the user `blacktree` may do everything, without a password."""

    name = "postgres"
    farewell = signal.SIGINT  # its fast shutdown; on SIGTERM it would wait for its clients to leave

    def __init__(self, external: str | None = None) -> None:
        super().__init__(external)
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None

    @classmethod
    def from_environment(cls) -> Self:
        return cls(os.environ.get("BLACKTREE_TEST_POSTGRES_URL"))

    @property
    def url(self) -> str:
        """postgresql://… of the database for administration."""
        return self.external or f"postgresql://blacktree@127.0.0.1:{self.port}/postgres"

    def create_database(self, name: str, like: str = "template1") -> str:
        """A new database in place of one of that name, empty or `like` another; returns its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(like)))
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def reads_only(self, name: str) -> None:
        """As after a failover: connections to the database are cut, and new ones take no changes."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            self._set_read_only(connection, name, "on")
            ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(ended, (name,))

    def writes_again(self, name: str) -> None:
        """New connections take changes; those of before stay as they are."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            self._set_read_only(connection, name, "off")

    @staticmethod
    def _set_read_only(connection: psycopg.Connection, name: str, how: str) -> None:
        change = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}")
        connection.execute(change.format(sql.Identifier(name), sql.SQL(how)))

    def prepare(self, folder: Path) -> None:
        become: Sequence[str] = ()
        if self.user:
            data = folder / "data"
            data.mkdir()
            try:
                os.chown(data, *_ids(self.user))
            except KeyError:
                require(None, self.name)
            become = ("setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups", "--")
        data_options = ["--pgdata", str(folder / "data"), "--encoding", "UTF8", "--no-locale", "--no-sync"]
        made = subprocess.run(
            [
                *become,
                str(_programs() / "initdb"),
                *data_options,
                "--username",
                "blacktree",
                "--auth",
                "trust",
            ],
            check=False,
            env=dict(self.environment()),
            cwd=folder,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise AssertionError(f"initdb failed: {made.stderr}")

    def command(self) -> Sequence[str]:
        # A crash of the process, which tests make, loses nothing without fsync; only one of the machine does.
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(_programs() / "postgres"), "-D", str(self.folder / "data"), *options]

    def ready(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _programs() -> Path:
    """The newest version's folder: Debian does not put it on the PATH."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    newest = max(found, key=lambda path: int(path.parent.name), default=None)
    return Path(require(str(newest) if newest else None, "postgres"))


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
