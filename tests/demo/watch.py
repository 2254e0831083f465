"""Sees what happens at GitHub and in Blacktree, and shows each thing once."""

from __future__ import annotations

import asyncio
import contextlib

import httpx2

from tests.demo import texts
from tests.demo.bot import Bot
from tests.demo.screen import Ongoing, Screen
from tests.demo.texts import JobSeen, RunSeen
from tests.github import Subscription

_PAUSE = 0.1  # seconds between two looks at the API


class Watcher:
    """`github` and `runs` end only when they are cancelled."""

    def __init__(self, screen: Screen, bot: Bot, subscription: Subscription) -> None:
        self._screen = screen
        self._bot = bot
        self._subscription = subscription
        self._shown: set[tuple[str | int, ...]] = set()

    async def github(self) -> None:
        async for happening in self._subscription:
            if line := texts.happened(happening):
                self._screen.say(line)

    async def runs(self) -> None:
        while True:
            with contextlib.suppress(httpx2.HTTPError):  # its end is told elsewhere
                self._show(await self._bot.runs())
            await asyncio.sleep(_PAUSE)

    async def catch_up(self) -> None:
        """Show what happened up to now."""
        self._show(await self._bot.runs())

    def _show(self, runs: list[RunSeen]) -> None:
        ongoing: list[Ongoing] = []
        for run in runs:
            if self._is_new("run", run.id):
                self._screen.say(texts.run_started(run))
            for job in run.jobs:
                self._show_job(run, job)
                ongoing += [
                    Ongoing(texts.step_runs(run, job, step), step.started_at.timestamp())
                    for step in job.steps
                    if step.ended_at is None and not job.over
                ]
        self._screen.ongoing(ongoing)

    def _show_job(self, run: RunSeen, job: JobSeen) -> None:
        if job.started_at and self._is_new("job", job.id, job.attempt):
            self._screen.say(texts.job_started(run, job))
        for step in job.steps:
            if step.ended_at and self._is_new("step", job.id, step.attempt, step.name):
                self._screen.say(texts.step_ended(run, job, step))
        if job.over and self._is_new("end", job.id, job.attempt):
            self._screen.say(texts.job_ended(run, job))

    def _is_new(self, *key: str | int) -> bool:
        if key in self._shown:
            return False
        self._shown.add(key)
        return True
