"""One attempt from the inside: where it reports its steps, writes its log and has its folder."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import shutil
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import structlog

from config.outages import cause
from workers.contract.failure import DISK_FULL, Failure
from workers.contract.messages import (
    AttemptRef,
    BackupResult,
    BuildSpec,
    Credentials,
    Event,
    Failed,
    Fault,
    ImageResult,
    Spec,
    Step,
    StepChanged,
    StepReport,
    Succeeded,
    TaskSpec,
    now,
)
from workers.engine.engine import EngineDown
from workers.output.cleaning import plain
from workers.output.logs import BUDGET, LogSink
from workers.process.threads import to_the_end

log = structlog.get_logger()

_LAST_STEPS = 2.0  # seconds that the last steps may take to be told; `Finished` repeats them

Tell = Callable[[Event], Awaitable[None]]
Story = Callable[["Attempt"], Awaitable[ImageResult | BackupResult | None]]


class Attempt:
    """What the story of a job needs to know and to tell."""

    def __init__(
        self,
        ref: AttemptRef,
        spec: Spec,
        credentials: Credentials,
        folder: Path,
        tell: Tell,
        log_budget: int = BUDGET,
    ) -> None:
        """`log_budget`: bytes that its log may have."""
        self.ref = ref
        self.spec = spec
        self.credentials = credentials
        self.folder = folder  # made and removed by `opened`
        self.log = LogSink(tell, ref.job, ref.attempt, credentials.secrets(), log_budget)
        self.steps: list[StepReport] = []
        self.committing = False
        self._tell = tell
        self._untold: asyncio.Queue[StepChanged] = asyncio.Queue()
        self._clock: asyncio.Timeout | None = None

    @property
    def step_now(self) -> Step | None:
        return self.steps[-1].name if self.steps else None

    def commit(self) -> None:
        """From here on only a lost lease ends the attempt early."""
        self.committing = True
        if self._clock is not None:
            self._clock.reschedule(None)

    @contextlib.asynccontextmanager
    async def step(self, name: Step) -> AsyncIterator[None]:
        """A stage of the story: its start and its end are told."""
        begun = StepReport(name=name, started_at=now())
        self.steps.append(begun)
        self._say(begun)
        self.log.line(f"── {name}")
        ok = False
        try:
            yield
            ok = True
        finally:
            ended = begun.model_copy(update={"ended_at": now(), "ok": ok})
            self.steps[self.steps.index(begun)] = ended
            self._say(ended)
            seconds = (ended.ended_at - begun.started_at).total_seconds() if ended.ended_at else 0.0
            self.log.line(f"── {name} {'took' if ok else 'did not succeed after'} {seconds:.1f} s")

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The folder is there and what is said is told; afterwards neither is."""
        telling = asyncio.create_task(self._tell_steps())
        try:
            # Who is stopped meanwhile waits for it: a thread that nobody waits for would make it later.
            await to_the_end(self.folder.mkdir, mode=0o700, parents=True)
            async with self.log.pumped():
                yield
        finally:
            try:
                await to_the_end(shutil.rmtree, self.folder, ignore_errors=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LAST_STEPS):
                        await self._untold.join()
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def perform(self, story: Story, timeout: float | None) -> Succeeded | Failed:
        """Live through `story`: the one place where an exception becomes an outcome."""
        try:
            async with asyncio.timeout(timeout) as self._clock:
                made = await story(self)
        except asyncio.CancelledError:
            self.log.line("── stopped")
            raise
        except Failure as failure:
            told = self._failed(failure.fault, failure.reason, failure.sentence)
            return told.model_copy(update={"exit_code": failure.exit_code})
        except EngineDown as error:
            return self._failed(Fault.OURS, "engine_gone", str(error))
        except TimeoutError:
            if self._clock is not None and self._clock.expired():
                fault = Fault.USER if isinstance(self.spec, BuildSpec | TaskSpec) else Fault.OURS
                return self._failed(fault, "timeout", f"It lasted longer than the {timeout:g} s it may last")
            log.exception("unexpected time-out")
            return self._failed(Fault.OURS, "internal", "Something on the worker did not answer in time")
        except Exception as error:
            return self.broke(error)
        if isinstance(made, BackupResult):
            return Succeeded(backup=made)
        return Succeeded(image=made)

    def broke(self, error: Exception) -> Failed:
        """What no part of the story expected."""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return self._failed(Fault.OURS, DISK_FULL, "The worker's disk is full")
        if why := cause(error):
            log.warning("attempt broke", error=self.log.masked(why))
        else:
            log.error("attempt broke", exception=self.log.masked("".join(traceback.format_exception(error))))
        sentence = f"The worker failed unexpectedly ({type(error).__name__}); see its log"
        return self._failed(Fault.OURS, "internal", sentence)

    def _failed(self, fault: Fault, reason: str, sentence: str) -> Failed:
        # It may quote what was printed, a file's name, what an app answered.
        sentence = plain(self.log.masked(sentence).encode(errors="replace")).decode(errors="replace")
        self.log.line(f"✗ {sentence}")
        return Failed(fault=fault, reason=reason, sentence=sentence, step=self.step_now)

    def _say(self, step: StepReport) -> None:
        self._untold.put_nowait(StepChanged(job=self.ref.job, attempt=self.ref.attempt, step=step))

    async def _tell_steps(self) -> None:
        while True:
            event = await self._untold.get()
            try:
                await self._tell(event)
            except Exception as error:
                log.warning("step not told", step=event.step.name, error=str(error))
            finally:
                self._untold.task_done()
