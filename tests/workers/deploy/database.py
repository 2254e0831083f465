"""Images of a real PostgreSQL and Redis, packed from this machine's, that start as the well-known ones do."""

from __future__ import annotations

import io
import os
import re
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.parts.engine import Engine
from tests.parts.part import PartMissing
from tests.parts.registry import Registry
from tests.workers.conftest import MADE
from tests.workers.deploy.storeroom import Storeroom

Made = Callable[[dict[str, str], str], str]

# As postgres:17 from Docker Hub: made at its first start, by a user of its own, with POSTGRES_PASSWORD.
START = """
set -e
mkdir -p "$PGDATA"; chown nobody "$PGDATA"; chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  echo "$POSTGRES_PASSWORD" > /tmp/password; chmod 644 /tmp/password
  su -s /bin/sh nobody -c 'initdb -U postgres --no-locale -E UTF8 -N -A scram-sha-256 --pwfile=/tmp/password'
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
fi
exec su -s /bin/sh nobody -c "exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -F"
"""


# As redis:7 from Docker Hub: reached by whoever is on its network.
START_REDIS = "exec redis-server --dir /data --protected-mode no"


@dataclass(frozen=True)
class Stock:
    """Images of one of them, made once for all that is asked of it."""

    app: str  # with its programs, on this engine alone
    store: Storeroom
    pushed: str  # the same as a service, in the registry


@contextmanager
def stocked(
    engine: Engine, registry: Registry, made: Made, name: str, start: str, port: int
) -> Iterator[Stock]:
    """`made` makes the image by a label and a name; as `name` it is a service that does `start`."""
    whose = f"test-{secrets.token_hex(4)}"
    app = made({MADE: whose}, f"blacktree-test/{whose}")
    store = Storeroom(engine, registry, app, {MADE: whose})
    yield Stock(app, store, store.image(name, start, f"EXPOSE {port}"))
    engine.remove(f"{MADE}={whose}")


def image(engine: Engine, base: str, label: dict[str, str], name: str) -> str:
    """`name`: with PostgreSQL's programs beside the base image's small tools."""
    programs = [_folder("bin") / one for one in ("postgres", "initdb", "psql", "pg_dump", "pg_isready")]
    packed = _packed(programs, sorted(_folder("lib").glob("*.so")), Path("/usr/share/postgresql"))
    return _made(engine, base, label, name, packed, f"{_folder('bin')}:/bin")


def redis_image(engine: Engine, base: str, label: dict[str, str], name: str) -> str:
    """`name`: likewise with Redis'."""
    programs = [Path("/usr/bin/redis-server"), Path("/usr/bin/redis-cli")]
    if not all(one.exists() for one in programs):
        raise PartMissing("There is no Redis: run tests/machine/install redis-server")
    return _made(engine, base, label, name, _packed(programs), "/usr/bin:/bin")


def _made(engine: Engine, base: str, label: dict[str, str], name: str, packed: bytes, path: str) -> str:
    made = engine.client.containers.create(base, labels=label)
    try:
        made.put_archive("/", packed)
        made.commit(name, "latest", changes=[f"ENV PATH={path}", "ENV PGDATA=/data/cluster"])
    finally:
        made.remove()
    return f"{name}:latest"


def _packed(programs: Sequence[Path], libraries: Sequence[Path] = (), *more: Path) -> bytes:
    """A tar of these, and of what they are linked with."""
    needed = subprocess.run(
        ["ldd", *map(str, programs), *map(str, libraries)], capture_output=True, text=True, check=True
    ).stdout
    shared = {Path(one) for one in re.findall(r"(/\S+) \(0x", needed)}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        for one in sorted({*programs, *libraries, *shared, *more}):
            tar.add(one)
    return out.getvalue()


def _folder(part: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/{part}"))
    if not found or not os.access(found[-1], os.R_OK):
        raise PartMissing("There is no PostgreSQL: run tests/machine/install postgres")
    return found[-1]
