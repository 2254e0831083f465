"""How the tests are shared out among processes, by what they need, so that none disturbs another.

What touches the machine's engine in any way is one process's alone. `tests/integration` counts what runs,
too, and what takes long shall be in nobody's way: a process that takes one of these files starts an engine
of its own. All else is dealt out a file at a time.
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadScopeScheduling

MACHINE, OWN, NONE = "the machine's engine", "an engine of its own", ""
_FOLDERS = {
    "tests/bot/fleet/scaling/test_providers.py": MACHINE,
    "tests/bot/web/test_exec.py": MACHINE,
    "tests/integration/": OWN,
    "tests/demo/": MACHINE,
    "tests/parts/": OWN,
    "tests/workers/": MACHINE,
    "tests/workers/deploy/": OWN,
    "tests/workers/deploy/test_deploy.py": MACHINE,  # whose containers have the machine's name servers
    "tests/workers/deploy/test_services.py": MACHINE,
    "tests/workers/engine/test_engine_restart.py": OWN,
    "tests/workers/upkeep/test_janitor.py": OWN,
    "tests/workers/contract/": NONE,
    "tests/workers/output/": NONE,
    "tests/workers/process/": NONE,
    "tests/workers/source/test_mirrors.py": NONE,
}
_FIRST = (MACHINE, OWN, NONE)
_LIMIT = 900  # seconds for a test with an engine: it may be the one that starts all parts, on a busy machine
# Files that take more than a minute: begun last, they would be all that still runs.
_LONG = {
    "tests/integration/test_truths.py",
    "tests/integration/test_deploy_killed.py",
    "tests/integration/test_rabbitmq.py",
    "tests/integration/test_identity.py",
    "tests/integration/test_browser.py",
    "tests/integration/test_processes.py",
    "tests/integration/test_upgrades.py",
    "tests/bot/store/test_backup.py",
    "tests/bot/web/api/test_fuzz.py",
    "tests/bot/web/pages/test_browser.py",
    "tests/bot/web/test_server.py",
}


class ByNeed(LoadScopeScheduling):  # type: ignore[misc]
    """A process is given all that works with the machine's engine at once; of the rest, files."""

    def _split_scope(self, nodeid: str) -> str:
        return MACHINE if need(nodeid) is MACHINE else nodeid.partition("::")[0]


def need(nodeid: str) -> str:
    """Which engine the tests of a file work with."""
    folders = [folder for folder in _FOLDERS if nodeid.startswith(folder)]
    return _FOLDERS[max(folders, key=len)] if folders else NONE


def told(items: list[pytest.Item]) -> None:
    """Mark what works with an engine, give it time, and put it first, and of each kind what takes long.

    Raises UsageError for a test that asks for an engine in a folder that is told to need none.
    """
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()):
            item.add_marker("engine")
        if need(item.nodeid) is NONE and item.get_closest_marker("engine"):
            raise pytest.UsageError(f"{item.nodeid} works with an engine: tests/sharing.py is to say which")
        if need(item.nodeid) is not NONE and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_LIMIT))
    items.sort(
        key=lambda item: (_FIRST.index(need(item.nodeid)), item.nodeid.partition("::")[0] not in _LONG)
    )
