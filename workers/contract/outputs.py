"""What containers print and what they use, as their worker tells of it.

What was printed lies in the engine: a worker that is not answered reads it again.
"""

from __future__ import annotations

from typing import Literal

from workers.contract.words import Message, Value

LONGEST = 16 * 1024  # characters of a line


class Line(Value):
    """A line that a container printed, masked; with `note`, what is said of lines that are missing."""

    at: int  # nanoseconds since 1970, as its engine noted it: it tells the lines of a container apart
    text: str
    note: bool = False


class Whose(Value):
    """A container, and whose it is: a release's, or (`place`) an environment's service."""

    container: str  # its id
    name: str
    process: str  # or the service's name
    release: str = ""
    place: str = ""


class Output(Value):
    """What a container printed after what the bot has; nothing asks how far that is."""

    whose: Whose
    lines: list[Line] = []


class Printed(Message):
    """What a worker's containers printed."""

    kind: Literal["printed"] = "printed"
    worker: str
    outputs: list[Output]


class Reached(Message):
    """How far the bot has what each of these containers printed: `at` of the last line, 0 for nothing.

    A container that is not named is none of this worker's, or of nobody's environment.
    """

    kind: Literal["reached"] = "reached"
    at: dict[str, int]


class Sample(Value):
    """What a container used since its sample before, `seconds` ago."""

    whose: Whose
    seconds: float
    cpu: float  # seconds of a processor
    memory: int  # bytes that it has now, without what the kernel gives back at once
    limit: int = 0  # bytes that it may have; 0 if that is not known
    received: int = 0  # bytes from its networks
    sent: int = 0
    restarts: int = 0  # all of them


class Measured(Message):
    """What a worker's containers used. It is told once: what gets lost is missing."""

    kind: Literal["measured"] = "measured"
    worker: str
    samples: list[Sample]
