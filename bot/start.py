"""What the console script calls."""

from __future__ import annotations

from config import garbage


def main() -> None:
    """Run the command line."""
    with garbage.kept():
        from bot.cli import main as run
    run()
