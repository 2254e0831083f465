"""A slot: take ▸ claim ▸ execute ▸ tell, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from nacl.exceptions import CryptoError

from config.fields import size_bytes
from config.outages import told
from config.settings import Settings
from workers.attempt import Attempt
from workers.backup.restore import restore
from workers.backup.take import backup
from workers.build.build import build
from workers.build.elsewhere import pin
from workers.contract.failure import DISK_FULL
from workers.contract.handed import Hand
from workers.contract.messages import (
    AttemptRef,
    BackupResult,
    BackupSpec,
    BuildSpec,
    Claim,
    Credentials,
    DeploySpec,
    Failed,
    Fault,
    Finished,
    Grant,
    ImageResult,
    PinSpec,
    RestoreSpec,
    Stopped,
    StopSpec,
    Succeeded,
    TaskSpec,
    UpdateSpec,
    now,
)
from workers.contract.queue import Outcast, QueueDown, Taken
from workers.contract.seal import Keys
from workers.deploy.deploy import deploy
from workers.deploy.stop import stop
from workers.deploy.task import run_task
from workers.deploy.update import update
from workers.heartbeat import Key, key
from workers.running import Cause, Running
from workers.tools import Tools
from workers.upkeep.janitor import work_folder
from workers.upkeep.room import Room

log = structlog.get_logger()

# RabbitMQ closes a channel whose delivery is unacknowledged after 30 minutes (consumer_timeout).
EARLY_ACK = 20 * 60.0  # seconds
_ANSWER = 10.0  # seconds that the bot gets to answer a claim
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds before something is tried again
_LAST_WORDS = 10.0  # seconds that a stopping worker tries to tell an end


class Slot:
    """Does one job at a time until draining begins."""

    def __init__(
        self,
        settings: Settings,
        tools: Tools,
        instance: str,
        running: dict[Key, Running],
        over: set[AttemptRef],
        draining: asyncio.Event,
        news: Callable[[], None],
        room: Room,
        admitted: asyncio.Event,
        hand: Hand,
    ) -> None:
        """`admitted`: whether the bot takes this worker's word; before, nothing is taken from others.

        `hand`: what the bot hands to this very worker.
        """
        self._hand = hand
        self._settings = settings
        self._tools = tools
        self._room = room
        self._admitted = admitted
        self._instance = instance
        self._running = running
        self._over = over
        self._draining = draining
        self._news = news
        self._keys = Keys()

    async def run(self) -> None:
        wait = _FIRST_WAIT
        while not self._draining.is_set():
            try:
                if await self._room.open():
                    if (taken := await self._take()) is not None:
                        await self._handle(taken)
                    wait = _FIRST_WAIT
                else:
                    await self._rest(wait)
                    wait = min(wait * 2, _LONGEST_WAIT)
            except QueueDown as error:
                log.warning("no job can be taken", error=str(error))
                await self._rest(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            except Exception as error:
                told(log, "slot broke", error)
                await self._rest(wait)
                wait = min(wait * 2, _LONGEST_WAIT)

    async def _take(self) -> Taken | None:
        """The next offer; None when draining comes first, other lines, or what lets no job be taken."""
        taking = asyncio.ensure_future(self._offered())
        draining = asyncio.ensure_future(self._draining.wait())
        closed = asyncio.ensure_future(self._room.closed())
        changed = asyncio.ensure_future(self._tools.lines.changed())
        either: set[asyncio.Future[Any]] = {taking, draining, closed, changed}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in either:
                task.cancel()
            await asyncio.gather(*either, return_exceptions=True)
        if taking.cancelled():
            return None
        taken = taking.result()
        if self._draining.is_set():
            await taken.give_back()
            return None
        return taken

    async def _offered(self) -> Taken:
        await self._admitted.wait()
        lines = (self._settings.worker_pool, *self._tools.lines.further)
        return await self._hand.next(self._tools.queue, *lines)

    async def _handle(self, taken: Taken) -> None:
        if not await self._room.open():  # a lot may have happened while nothing was offered
            await taken.give_back()
            return
        asked = asyncio.get_running_loop().time()
        answer = await self._claimed(taken)
        if isinstance(answer, Grant):
            with structlog.contextvars.bound_contextvars(job=answer.job, attempt=answer.attempt):
                await self._granted(taken, answer, asked)
        elif answer is None:
            await taken.give_back()
        else:
            log.info("offer refused", job=taken.offer.job, reason=answer[0], again=answer[1])
            if answer[1]:
                await self._rest(1.0)
                await taken.give_back()
            else:
                await taken.ack()

    async def _claimed(self, taken: Taken) -> Grant | tuple[str, bool] | None:
        """The grant; or why not, and whether somebody may try again; None when it is not ours to ask."""
        claim = Claim(
            job=taken.offer.job,
            worker=self._settings.worker,
            instance=self._instance,
            nonce=uuid4().hex,
            public_key=self._keys.public,
            redelivered=taken.redelivered,
        )
        wait = _FIRST_WAIT
        while True:
            try:
                answer = await self._tools.queue.request(claim, _ANSWER)
            except Outcast:
                self._admitted.clear()  # the next heartbeat tells why
                return None
            except (QueueDown, TimeoutError) as error:
                log.warning("claim not answered", job=claim.job, error=str(error) or "time-out")
                await self._rest(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
                if self._draining.is_set():
                    return None
                continue
            if isinstance(answer, Grant):
                return answer
            if answer.kind == "refusal":
                return answer.reason, answer.retry
            return f"unexpected answer {answer.kind}", False

    async def _granted(self, taken: Taken, grant: Grant, asked: float) -> None:
        ref = AttemptRef(job=grant.job, attempt=grant.attempt)
        refused: Failed | None = None
        try:
            credentials = self._keys.open(grant.sealed)
        except (CryptoError, ValueError):
            credentials = Credentials()
            refused = Failed(
                fault=Fault.OURS, reason="bad_grant", sentence="The grant's credentials cannot be read"
            )
        budget = size_bytes(self._settings.log_budget)
        attempt = Attempt(ref, grant.spec, credentials, self._folder(ref), self._tools.queue.tell, budget)
        running = self._running[key(ref)] = Running(attempt, asked + grant.lease)
        self._news()
        log.info("attempt started", kind=str(grant.spec.kind))
        try:
            async with asyncio.TaskGroup() as tasks:
                early = tasks.create_task(_ack_late(taken, EARLY_ACK))
                await self._execute(running, refused)
                early.cancel()
            if early.cancelled():
                await taken.ack()
        finally:
            del self._running[key(ref)]
            self._over.add(ref)
            self._news()

    def _folder(self, ref: AttemptRef) -> Path:
        job = ref.job if ref.job.replace("-", "").isalnum() else hashlib.sha256(ref.job.encode()).hexdigest()
        return work_folder(self._settings.data_dir) / f"{job}-{ref.attempt}"

    async def _execute(self, running: Running, refused: Failed | None) -> None:
        """Live an attempt and tell its end; an attempt whose lease is lost tells nothing."""
        ended: Succeeded | Failed | None = refused
        if refused is None:
            ended = await running.held(self._lived(running.attempt))
        if isinstance(ended, Failed) and ended.reason == DISK_FULL:
            self._room.filled()
        result = _result(ended, running.cause)
        if result is None:
            log.warning("lease lost: the attempt is stopped and told to nobody")
            return
        log.info("attempt ended", result=result.model_dump(exclude_none=True))
        running.telling = True
        finished = Finished(
            job=running.ref.job, attempt=running.ref.attempt, at=now(), result=result,
            steps=running.attempt.steps,
        )  # fmt: skip
        await running.held(self._told(finished))

    async def _lived(self, attempt: Attempt) -> Succeeded | Failed:
        timeout = self._settings.job_timeout
        if isinstance(attempt.spec, BuildSpec):
            timeout = min(timeout, attempt.spec.timeout)
        try:
            async with attempt.opened():
                return await attempt.perform(lambda attempt: _story(attempt, self._tools), timeout)
        except OSError as error:  # not even its folder can be made
            return attempt.broke(error)

    async def _told(self, finished: Finished) -> None:
        telling = asyncio.ensure_future(self._tools.queue.tell(finished))
        draining = asyncio.ensure_future(self._draining.wait())
        either: set[asyncio.Future[Any]] = {telling, draining}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                await asyncio.wait({telling}, timeout=_LAST_WORDS)
            if not telling.done():
                log.warning("an attempt's end could not be told; its lease will tell")
        finally:
            for task in either:
                task.cancel()
            results = await asyncio.gather(telling, draining, return_exceptions=True)
        if isinstance(results[0], Exception):
            raise results[0]

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._draining.wait()


async def _story(attempt: Attempt, tools: Tools) -> ImageResult | BackupResult | None:
    match attempt.spec:
        case BuildSpec() as spec:
            return await build(attempt, spec, tools)
        case DeploySpec() as spec:
            await deploy(attempt, spec, tools)
        case StopSpec() as spec:
            await stop(attempt, spec, tools)
        case TaskSpec() as spec:
            await run_task(attempt, spec, tools)
        case BackupSpec() as spec:
            return await backup(attempt, spec, tools)
        case RestoreSpec() as spec:
            await restore(attempt, spec, tools)
        case PinSpec() as spec:
            return await pin(attempt, spec, tools)
        case UpdateSpec() as spec:
            await update(attempt, spec, tools)
    return None


async def _ack_late(taken: Taken, seconds: float) -> None:
    await asyncio.sleep(seconds)
    await taken.ack()


def _result(ended: Succeeded | Failed | None, cause: Cause | None) -> Succeeded | Failed | Stopped | None:
    """What is told of an attempt that ended so, while something may have stopped it."""
    if cause is Cause.LOST:
        return None
    if cause is Cause.CANCELLED and not isinstance(ended, Succeeded):
        return Stopped()
    if ended is None:
        return Failed(
            fault=Fault.OURS, reason="worker_stopping", sentence="The worker was stopped; another goes on"
        )
    return ended
