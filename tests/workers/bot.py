"""As much of a bot as a worker needs: grants, leases, switches, and a memory of what it was told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from workers.contract.memory import MemoryQueue
from workers.contract.messages import (
    Answer,
    Asked,
    AttemptRef,
    Cancel,
    Claim,
    Credentials,
    Event,
    Finished,
    Grant,
    Heartbeat,
    HeartbeatAnswer,
    ImageResult,
    Known,
    LogChunk,
    Lookup,
    Measured,
    Noted,
    Nudge,
    Offer,
    Printed,
    Reached,
    Ready,
    Refusal,
    ServiceNews,
    Spec,
    StepChanged,
    Switched,
    edition,
)
from workers.contract.outputs import Line, Sample
from workers.contract.seal import seal

T = TypeVar("T")


class Bot:
    """Answers at once; a test sets what."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        self.specs: dict[str, Spec] = {}
        self.credentials = Credentials()
        self.lease = 60.0
        self.claims: list[Claim] = []
        self.beats: list[Heartbeat] = []
        self.lookups: list[Lookup] = []
        self.known: dict[str, ImageResult] = {}  # by the key of its inputs
        self.events: list[Event] = []
        self.readies: list[Ready] = []
        self.news: list[ServiceNews] = []
        self.printed: dict[str, list[Line]] = {}  # by the container's id
        self.deaf = False  # to what is printed
        self.samples: list[Sample] = []
        self.over: list[str] = []  # containers of services
        self.lost: list[AttemptRef] = []
        self.cancelled: list[AttemptRef] = []
        self.retired: list[str] = []
        self.proving: list[str] = []
        self.kept: list[str] = []
        self.lines: list[str] = []
        self.instead: dict[str, str] = {}  # another job for that of an offer
        self.instance = ""  # whose images are judged; none if empty
        self.refusal: str | None = None  # of Ready
        self.users = False  # whether it is somebody's to mend
        self.silent = False  # to heartbeats
        self.silences = 0  # of the next Readys
        self._news = asyncio.Event()

    async def serve(self) -> None:
        await self.queue.serve(self._answer, self._hear, self._bury)

    async def offer(self, job: str, spec: Spec) -> None:
        self.specs[job] = spec
        await self.queue.offer(Offer(job=job, pool="default"))

    async def run(self, job: str, spec: Spec) -> Finished:
        """The end of a job, however it ends."""
        await self.offer(job, spec)
        return await self.finished(job)

    async def cancel(self, worker: str, job: str) -> None:
        await self.queue.order(worker, Cancel(job=job, attempt=1))

    async def nudge(self, worker: str) -> None:
        await self.queue.order(worker, Nudge())

    async def finished(self, job: str, timeout: float = 150, attempt: int = 1) -> Finished:
        def ended() -> Finished | None:
            ends = (event for event in self.events if isinstance(event, Finished))
            return next((end for end in ends if (end.job, end.attempt) == (job, attempt)), None)

        return await self.until(ended, timeout)

    async def until(self, found: Callable[[], T | None], timeout: float = 60) -> T:
        """What `found` returns once it is true."""
        async with asyncio.timeout(timeout):
            while not (value := found()):
                self._news.clear()
                await self._news.wait()
            return value

    def log(self, job: str) -> str:
        """Of its last attempt."""
        logs = [event for event in self.events if isinstance(event, LogChunk) and event.job == job]
        last = max((chunk.attempt for chunk in logs), default=1)
        chunks = [chunk for chunk in logs if chunk.attempt == last]
        text = "".join(chunk.text for chunk in chunks)
        assert sum(len(chunk.text) for chunk in chunks[:-1]) == (chunks[-1].offset if chunks else 0)
        return text

    def started(self, job: str, step: str) -> bool:
        return any(
            isinstance(event, StepChanged) and event.job == job and event.step.name == step
            for event in self.events
        )

    async def _answer(self, request: Asked) -> Answer:
        self._news.set()
        match request:
            case Claim():
                self.claims.append(request)
                job = self.instead.get(request.job, request.job)
                if job not in self.specs:
                    return Refusal(reason="unknown")
                sealed = seal(self.credentials, request.public_key)
                attempt = len({claim.nonce for claim in self.claims if claim.job == request.job})
                spec = self.specs[job]
                return Grant(job=job, attempt=attempt, lease=self.lease, spec=spec, sealed=sealed)
            case Heartbeat():
                self.beats.append(request)
                if self.silent:
                    raise TimeoutError
                return HeartbeatAnswer(
                    lease=self.lease,
                    lost=self.lost,
                    cancelled=self.cancelled,
                    retired=self.retired,
                    proving=self.proving,
                    over=self.over,
                    kept=None if request.kept == edition(self.kept) else self.kept,
                    lines=self.lines,
                    instance=self.instance,
                )
            case Printed():
                if self.deaf:
                    raise TimeoutError
                for output in request.outputs:
                    mine = self.printed.setdefault(output.whose.container, [])
                    mine += [line for line in output.lines if not mine or line.at > mine[-1].at]
                return Reached(at={id_: lines[-1].at if lines else 0 for id_, lines in self.printed.items()})
            case Measured():
                self.samples += request.samples
                return Noted()
            case Lookup():
                self.lookups.append(request)
                found = self.known.get(request.key)
                return Known(image=found, sha="f" * 40 if found else "")
            case ServiceNews():
                self.news.append(request)
                return Noted()
            case Ready():
                self.readies.append(request)
                if self.silences:
                    self.silences -= 1
                    raise TimeoutError
                if self.refusal:
                    return Refusal(reason=self.refusal, users=self.users)
                return Switched(url="http://shop.example")

    async def _hear(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def _bury(self, offer: Offer) -> None:
        raise AssertionError(offer)
