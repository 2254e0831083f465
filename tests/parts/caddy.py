"""A Caddy of its own, driven through its admin API at a socket, as several bots drive one."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.parts.part import Part, require


class Caddy(Part):
    """Without any route at first."""

    name = "caddy"

    @property
    def place(self) -> str:
        """As the setting PROXY has it."""
        return f"unix://{self.folder / 'admin.sock'}"

    @property
    def files(self) -> Path:
        """As the setting PROXY_FILES has it."""
        return self.folder / "routes"

    def prepare(self, folder: Path) -> None:
        (folder / "routes").mkdir()
        (folder / "start.json").write_text(f'{{"admin": {{"listen": "unix/{folder}/admin.sock|0600"}}}}')

    def command(self) -> Sequence[str]:
        caddy = Path(sys.executable).parent / "caddy"
        require(str(caddy) if caddy.exists() else None, self.name)
        return [str(caddy), "run", "--resume", "--config", str(self.folder / "start.json")]

    def ready(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as door:
                door.connect(str(self.folder / "admin.sock"))
        except OSError:
            return False
        return True
