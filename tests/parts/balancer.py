"""Caddy as a load balancer in front of several bots, by the Caddyfile that docs/operations.md shows."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.parts.part import Part, require

_DOCS = Path(__file__).parent.parent.parent / "docs" / "operations.md"
_NAME, _BOTS = "blacktree.example.com", "10.0.0.11:8000 10.0.0.12:8000"


class Balancer(Part):
    """The documented one, at a port of 127.0.0.1, for bots at these ports."""

    name = "balancer"

    def __init__(self, bots: Sequence[int]) -> None:
        super().__init__()
        self._bots = bots

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self, folder: Path) -> None:
        found = re.search(r"```\n(blacktree\.example\.com \{.*?\n\})\n```", _DOCS.read_text(), re.S)
        assert found is not None, "docs/operations.md shows a Caddyfile"
        assert _BOTS in found[1]
        bots = " ".join(f"127.0.0.1:{port}" for port in self._bots)
        text = found[1].replace(_NAME, f"http://127.0.0.1:{self.port}").replace(_BOTS, bots)
        (folder / "Caddyfile").write_text("{\n\tadmin off\n}\n" + text + "\n")

    def command(self) -> Sequence[str]:
        caddy = Path(sys.executable).parent / "caddy"
        require(str(caddy) if caddy.exists() else None, self.name)
        return [str(caddy), "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]

    def ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True
