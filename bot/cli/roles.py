"""What a machine may be: bot, worker or both, each found by name, so that it works without the other."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

from config import garbage
from config.errors import ConfigError


@dataclass(frozen=True)
class Role:
    """One of them: its extra, the package of its parts, and what only it imports."""

    name: str
    package: str
    needs: str

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.needs) is not None

    def wanted(self) -> None:
        """Raises ConfigError where the role is not installed."""
        if not self.installed:
            raise ConfigError(
                f"this machine has no {self.name} installed: do this where there is one, or install what is "
                f"in requirements-{self.name}.lock here too"
            )

    def part(self, module: str) -> Any:
        """A module of the role's package. Raises ConfigError where the role is not installed."""
        self.wanted()
        with garbage.kept():
            return importlib.import_module(f"{self.package}.{module}")


BOT = Role("bot", "bot", "sqlmodel")
WORKER = Role("worker", "workers", "docker")
