"""The real parts, each started when a test first asks for it, and gone when the tests end; and a GitHub."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests import sharing
from tests.github import Contract, GitHub
from tests.parts import waiting
from tests.parts.broker import Broker
from tests.parts.dockerd import Dockerd
from tests.parts.engine import Engine
from tests.parts.postgres import Postgres
from tests.parts.registry import Registry

# How long an example takes says what else this machine does.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure() -> None:
    """What a shell starts in its background ignores Ctrl-C, and so would all that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    sharing.told(items)


def pytest_collection_finish() -> None:
    """What was imported stays: to look for garbage among it is an eighth of all the tests' time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> sharing.ByNeed:
    config.option.loadscopereorder = False
    return sharing.ByNeed(config, log)


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Each test opens stores; to compile the same statements for each is a quarter of such a test's time."""

    def alike(one: DefaultDialect, other: object) -> bool:
        return type(one) is type(other)

    def opened(*args: Any, **known: Any) -> AsyncEngine:
        return create_async_engine(*args, **known, execution_options={"compiled_cache": compiled})

    compiled: dict[Any, Any] = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DefaultDialect, "__eq__", alike)
        patched.setattr(DefaultDialect, "__hash__", lambda one: hash(type(one)))
        patched.setattr("bot.store.database.create_async_engine", opened)
        yield


@pytest.fixture(autouse=True)
def _log_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test runs in this very process would quieten the log of all tests after it."""
    monkeypatch.setattr("structlog.configure", lambda **_: None)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    with Registry.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres.from_environment() as part:
        yield part


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine() as part:
        yield part


@pytest.fixture(scope="session")
def own_dockerd() -> Iterator[Dockerd]:
    """An engine of this process's own. Who kills or restarts one has another."""
    with Dockerd("8g") as part:
        yield part


@pytest.fixture(scope="session")
def contract() -> Contract:
    """GitHub's published description. `make test` installs it; without it this is a failure."""
    found = Contract.find()
    assert found is not None, "GitHub's OpenAPI description is missing: run tests/machine/npm-ci"
    return found


@pytest.fixture
async def github(tmp_path: Path, contract: Contract) -> AsyncIterator[GitHub]:
    """A GitHub whose every request and answer is held to the published description."""
    before = len(contract.violations)
    async with GitHub.running(tmp_path / "github", contract=contract) as running:
        yield running
    assert contract.violations[before:] == []


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Each call: a TCP port of 127.0.0.1 on which nothing listens."""
    return waiting.free_port
