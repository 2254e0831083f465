"""A shell: a command that a person runs in a live container, and what goes between the two while it runs.

What is said is the same from the person to the bot (a WebSocket) and from there to the worker (the queue).
Each end says how many bytes it has taken; who sends never has more than WINDOW of them on the way, so nobody
between the two ever holds more. Nothing of it is kept, and nothing of it is logged.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, WithJsonSchema

from config.processes import WEB
from workers.contract.words import Message, Value

WINDOW = 128 * 1024  # bytes in one direction that were sent, and that the other end has not taken yet
PIECE = 16 * 1024  # bytes of one frame at most
BEAT = 5.0  # seconds between two signs of life
SILENT = 20.0  # seconds without one after which the other end is gone


def _bytes(given: object) -> object:
    try:
        return base64.b64decode(given, validate=True) if isinstance(given, str) else given
    except binascii.Error:
        raise ValueError("no base64") from None


Data = Annotated[
    bytes,
    Field(min_length=1, max_length=PIECE),
    BeforeValidator(_bytes),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
Rows = Annotated[int, Field(ge=1, le=1000)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]{0,64}$")]


class Stream(StrEnum):
    """What a command prints to; a terminal has the first alone."""

    OUT = "out"
    ERR = "err"


# -- towards the command ---------------------------------------------------------------------------------


class Wanted(Value):
    """What somebody wants to run, at the beginning."""

    kind: Literal["wanted"] = "wanted"
    command: Annotated[list[Annotated[str, Field(max_length=32_000)]], Field(max_length=1000)] = []  # /bin/sh
    process: Annotated[str, Field(max_length=100)] = WEB
    tty: bool = True
    term: Word = ""  # what kind of terminal: TERM
    rows: Rows = 24
    columns: Rows = 80


class Typed(Value):
    """What is typed, or comes from a pipe."""

    kind: Literal["typed"] = "typed"
    data: Data


class Eof(Value):
    """The pipe has ended."""

    kind: Literal["eof"] = "eof"


class Sized(Value):
    """The terminal is as large as this now."""

    kind: Literal["sized"] = "sized"
    rows: Rows
    columns: Rows


class Start(Value):
    """Run it: in a container of this release of this worker's own, and nowhere else."""

    kind: Literal["start"] = "start"
    instance: str  # of the worker that it is for: none that comes later begins it
    release: str
    wanted: Wanted
    idle: float  # seconds without a byte after which it is ended
    longest: float  # seconds that it may last


class Close(Value):
    """End it, whatever it does."""

    kind: Literal["close"] = "close"


# -- in both directions ----------------------------------------------------------------------------------


class Took(Value):
    """So many bytes more were taken: as many more may come."""

    kind: Literal["took"] = "took"
    bytes: Annotated[int, Field(ge=1, le=WINDOW)]


class Still(Value):
    """I am there."""

    kind: Literal["still"] = "still"


# -- from the command ------------------------------------------------------------------------------------


class Began(Value):
    """It runs."""

    kind: Literal["began"] = "began"
    container: str  # its name


class Printed(Value):
    """What it prints."""

    kind: Literal["printed"] = "printed"
    stream: Stream
    data: Data


class Why(StrEnum):
    """Why a shell is over, for programs."""

    ENDED = "ended"  # by itself, with a code
    LEFT = "left"  # the person is gone
    IDLE = "idle"
    LONGEST = "longest"
    RIGHT = "right"  # the person may not any more
    REFUSED = "refused"  # it did not begin
    LOST = "lost"  # something between the two is


class Over(Value):
    """It is over, and nothing of it is left in the container."""

    kind: Literal["over"] = "over"
    why: Why
    code: int | None = None  # its exit code
    sentence: str = ""  # for people


Towards = Start | Typed | Eof | Sized | Took | Still | Close
Back = Began | Printed | Took | Still | Over


class ShellOrder(Message):
    """What a worker is told of a shell; `number` counts from 0, so that none is missed or comes twice."""

    kind: Literal["shell"] = "shell"
    shell: str
    number: int
    what: Annotated[Towards, Field(discriminator="kind")]


class ShellSaid(Message):
    """What a worker says of one, likewise."""

    kind: Literal["shell_said"] = "shell_said"
    shell: str
    number: int
    what: Annotated[Back, Field(discriminator="kind")]


# -- over the WebSocket: as text; but Typed and Printed as bytes ------------------------------------------

OUT, ERR = 1, 2  # the first byte of what was printed
FromPerson = Wanted | Eof | Sized | Took
ToPerson = Began | Took | Over

said: TypeAdapter[ShellSaid] = TypeAdapter(ShellSaid)
from_person: TypeAdapter[FromPerson] = TypeAdapter(Annotated[FromPerson, Field(discriminator="kind")])
to_person: TypeAdapter[ToPerson] = TypeAdapter(Annotated[ToPerson, Field(discriminator="kind")])


def packed(printed: Printed) -> bytes:
    """What was printed, as the WebSocket carries it."""
    return bytes((OUT if printed.stream is Stream.OUT else ERR,)) + printed.data


class Overrun(Exception):
    """The other end sends more, or says that it took more, than it may."""


class Window:
    """How much may still be sent in one direction, by whoever sends it or watches it. Pure."""

    def __init__(self, left: int = WINDOW) -> None:
        self.left = left

    def send(self, count: int) -> None:
        """So many bytes are on the way. Raises Overrun."""
        if count > self.left:
            raise Overrun(f"{count} bytes, where {self.left} may be sent")
        self.left -= count

    def take(self, count: int) -> None:
        """So many have been taken at the other end. Raises Overrun."""
        if self.left + count > WINDOW:
            raise Overrun(f"{count} bytes taken, where {WINDOW - self.left} are on the way")
        self.left += count


class Numbers:
    """Whether what comes is the next one, always. Pure."""

    def __init__(self, due: int = 0) -> None:
        self._due = due

    def fits(self, number: int) -> bool:
        fits = number == self._due
        self._due += 1
        return fits
