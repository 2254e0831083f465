"""The border: what a worker says over the broker is believed only of itself, its pool and its attempts.

Who speaks is known by the key that its letter is sealed with. A request counts once: its number must be
greater than that of the worker's last one, which the store keeps, so that neither a second bot nor a restart
forgets it. An event that comes twice is one that the broker delivered twice: it is fenced by its attempt.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass

import structlog
from nacl.encoding import RawEncoder
from nacl.hash import blake2b
from sqlalchemy import bindparam, update
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from bot.store.database import Store
from bot.store.outages import naming
from bot.store.tables import AttemptRow, Enrolled, Job
from workers.contract.border import Question, Refused
from workers.contract.credential import KeyPair
from workers.contract.envelopes import Dismissed, Foreign, Late, Numbered, Stranger, numbered
from workers.contract.letters import EVENT, ORDER, REQUEST, UNKNOWN, Forged, Letters, answer_to, parted
from workers.contract.lines import Line
from workers.contract.messages import (
    VERSION,
    Answer,
    Asked,
    Claim,
    Finished,
    Heartbeat,
    LogChunk,
    Measured,
    Offer,
    Order,
    Printed,
    Refusal,
    StepChanged,
    events,
)

_MOST = 10_000  # workers that are remembered
_COUNT = (
    update(Enrolled)
    .where(col(Enrolled.name) == bindparam("name_"), col(Enrolled.number) < bindparam("number_"))
    .where(col(Enrolled.public_key) == bindparam("key_"), col(Enrolled.revoked_at).is_(None))
    .values(number=bindparam("number_"))
    .returning(col(Enrolled.name))
)
_AGAIN = 600.0  # seconds before the same is told of the same worker once more

log = structlog.get_logger()


@dataclass(frozen=True)
class _Sender:
    """A worker whose letter opened."""

    row: Enrolled
    letters: Letters
    text: bytes


@dataclass(frozen=True)
class _Known:
    """A worker, as its row was when it was read."""

    row: Enrolled
    letters: Letters


class Border:
    """The bot's, which has the key pair `keys`."""

    def __init__(self, store: Store, keys: KeyPair) -> None:
        self._store = store
        self._keys = keys
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, _Known] = {}
        self._told = _Told()

    @naming
    async def request(self, body: bytes) -> Question:
        """A worker's row is read once. That it is as it was then, the count of a request tells."""
        if (sender := self._remembered(body)) and (asked := _read(sender)):
            async with self._turns[sender.row.name]:
                counted = await self._counted(sender.row, asked.number) is None
            if counted:
                return await self._question(sender, asked)
        return await self._unknown(body)

    def _remembered(self, body: bytes) -> _Sender | None:
        """The sender of a letter, if it is one that we know and its letter opens."""
        with suppress(KeyError, Forged):
            name, sealed = parted(body)
            known = self._known[name]
            return _Sender(known.row, known.letters, known.letters.open(REQUEST, sealed))
        return None

    async def _unknown(self, body: bytes) -> Question:
        sender = await self._opened(REQUEST, body)
        asked = _read(sender)
        if asked is None:
            raise self._unread(sender)
        purpose, letters = answer_to(asked.number), sender.letters
        if sender.row.revoked_at is not None:
            self._told.of(sender.row.name, "it was revoked")
            raise Refused(letters.seal(purpose, Dismissed(reason=_revoked(sender.row))))
        async with self._turns[sender.row.name]:
            last = await self._counted(sender.row, asked.number)
        if last is not None:
            self._told.of(sender.row.name, "a request came twice, or after a later one")
            raise Refused(letters.seal(purpose, Late(last=last)))
        if len(self._known) > _MOST:
            self._known.clear()
        self._known[sender.row.name] = _Known(sender.row, letters)
        return await self._question(sender, asked)

    def _unread(self, sender: _Sender) -> Refused:
        """A worker of another version is told so, in words that it can read."""
        name, other = sender.row.name, Stranger.read(sender.text)
        if other is None:
            self._told.of(name, "its request cannot be read")
            return Refused()
        older = "worker" if other.version < VERSION else "bot"
        why = (
            f"worker {name} speaks version {other.version} of the contract between bot and workers, the bot "
            f"version {VERSION}: upgrade the {older}"
        )
        self._told.of(name, why)
        dismissed = Foreign(version=other.version, reason=why)
        return Refused(sender.letters.seal(answer_to(other.number), dismissed))

    async def _question(self, sender: _Sender, asked: Numbered) -> Question:
        purpose, letters = answer_to(asked.number), sender.letters
        if why := await self._trespass(sender.row, asked.request):
            self._told.of(sender.row.name, why, about=asked.request.kind)
            raise Refused(letters.seal(purpose, Refusal(reason=why)))

        def sealed(answer: Answer) -> bytes:
            return letters.seal(purpose, answer)

        return Question(asked.request, sender.row.pool, sealed)

    @naming
    async def event(self, body: bytes) -> StepChanged | Finished | LogChunk:
        sender = await self._opened(EVENT, body)
        try:
            event = events.validate_json(sender.text)
        except ValueError:
            self._told.of(sender.row.name, "its event cannot be read: is it of another version?")
            raise Refused from None
        if sender.row.revoked_at is not None:
            self._told.of(sender.row.name, "it was revoked")
            raise Refused
        if why := await self._trespass(sender.row, event):
            self._told.of(sender.row.name, why, about=event.kind)
            raise Refused
        return event

    async def order(self, worker: str, order: Order) -> bytes | None:
        letters = await self.letters(worker)
        return letters.seal(ORDER, order) if letters else None

    async def letters(self, worker: str) -> Letters | None:
        row = await self._enrolled(worker)
        if row is None or row.revoked_at is not None:
            return None
        return Letters.of_bot(self._keys, bytes.fromhex(row.public_key))

    def marked(self, offer: Offer) -> Offer:
        about = f"{offer.job}\n{offer.pool}".encode()
        mark = blake2b(about, key=self._keys.private, person=b"offer", encoder=RawEncoder).hex()
        return offer.model_copy(update={"mark": mark})

    def ours(self, offer: Offer) -> bool:
        return self.marked(offer) == offer

    async def _opened(self, what: bytes, body: bytes) -> _Sender:
        """Raises Refused for whom we have no key, or another."""
        try:
            name, sealed = parted(body)
            row = await self._enrolled(name)
            if row is None:
                raise Forged
            letters = Letters.of_bot(self._keys, bytes.fromhex(row.public_key))
            return _Sender(row, letters, letters.open(what, sealed))
        except Forged:
            why = "no worker that was added sealed it: see `blacktree workers add`"
            self._told.of("", why, says=ascii(body[:64].partition(b"\n")[0])[2:-1])
            raise Refused(UNKNOWN) from None

    async def _enrolled(self, name: str) -> Enrolled | None:
        async with self._store.reading() as session:
            return await session.get(Enrolled, name)

    async def _counted(self, worker: Enrolled, number: int) -> int | None:
        """Note the number of a request; the last one instead, if that was not smaller.

        What is not noted either is a request of a credential that holds no more.
        """
        values = {"name_": worker.name, "key_": worker.public_key, "number_": number}
        async with self._store.statements() as connection:
            if await connection.scalar(_COUNT, values) is not None:
                return None
        async with self._store.reading() as session:
            return (await session.get_one(Enrolled, worker.name)).number

    async def _trespass(self, worker: Enrolled, said: Asked | StepChanged | Finished | LogChunk) -> str:
        """Why a worker may not say this, for people; empty if it may."""
        if isinstance(said, Claim | Heartbeat | Measured | Printed) and said.worker != worker.name:
            return f"worker {worker.name} speaks as {said.worker}"
        if isinstance(said, Measured | Printed):
            return ""  # whose the containers are is looked at where it is kept: ownership.py
        if isinstance(said, Heartbeat):
            return "" if said.pool == worker.pool else f"worker {worker.name} is not of pool {said.pool}"
        async with self._store.reading() as session:
            job = await session.get(Job, said.job)
            if isinstance(said, Claim):
                own = job is None or Line.read(job.pool).pool == worker.pool
                return "" if own else f"job {said.job} is not for pool {worker.pool}"
            own = job is not None and await _doer(session, job, said.attempt) == worker.name
        return "" if own else f"attempt {said.attempt} of job {said.job} is not worker {worker.name}'s"


def _read(sender: _Sender) -> Numbered | None:
    """What a sender asks; None if that cannot be read."""
    try:
        return numbered.validate_json(sender.text)
    except ValueError:
        return None


async def _doer(session: AsyncSession, job: Job, attempt: int) -> str | None:
    """The worker that an attempt was granted to."""
    if job.attempt == attempt:
        return job.worker
    row = await session.get(AttemptRow, (job.id, attempt))
    return row.worker if row else None


def _revoked(worker: Enrolled) -> str:
    return (
        f"worker {worker.name} was revoked at {worker.revoked_at:%Y-%m-%d %H:%M} UTC: to have it work again, "
        f"run `blacktree workers add {worker.name} --pool {worker.pool}` where the bot runs, and give it "
        "the new credential"
    )


class _Told:
    """What was refused goes to the log once, and then with its count now and then: nobody floods it."""

    def __init__(self) -> None:
        self._due: dict[tuple[str, str], float] = {}
        self._since: Counter[tuple[str, str]] = Counter()

    def of(self, worker: str, why: str, about: str = "", says: str = "") -> None:
        """`worker`: whose letter it is, empty if nobody knows; of each the same is told once in a while."""
        key = (worker, about or why)
        self._since[key] += 1
        at = time.monotonic()
        if at < self._due.get(key, at):
            return
        self._due[key] = at + _AGAIN
        known = {"worker": worker, "said": about} if worker else {"says_that_it_is": says}
        log.warning("not believed", why=why, times=self._since.pop(key), **known)
