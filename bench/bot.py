"""A bot without a worker, told by the environment; prints its URL."""

from __future__ import annotations

from bot.main import bot, run, stopping
from config.logging import configure
from config.sources import load
from workers.contract.memory import MemoryQueue


async def main() -> None:
    """Until SIGTERM."""
    settings = load()
    async with stopping() as stop, bot(settings, MemoryQueue(), stop) as url:
        print(url, flush=True)
        await stop.wait()


if __name__ == "__main__":
    configure("json")
    run(main())
