"""A worker in a process of its own, with a bot that gives it one job: `python -m tests.workers.victim`.

What it is to do comes as JSON on standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys

from pydantic import BaseModel

from config.settings import Settings
from tests.workers.bot import Bot
from workers import main
from workers.contract.memory import MemoryQueue
from workers.contract.messages import BuildSpec, Credentials


class Orders(BaseModel):
    """What a victim is told."""

    data_dir: str
    name: str
    spec: BuildSpec
    credentials: Credentials


async def work(orders: Orders) -> None:
    """Until killed."""
    queue = MemoryQueue()
    bot = Bot(queue)
    bot.credentials = orders.credentials
    settings = Settings.model_validate(
        {"data_dir": orders.data_dir, "worker_name": orders.name, "firewall": False}
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bot.serve())
        tasks.create_task(main.worker(settings, queue, os.environ).run())
        await bot.offer("a", orders.spec)


if __name__ == "__main__":
    asyncio.run(work(Orders.model_validate_json(sys.stdin.read())))
