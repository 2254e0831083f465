"""A build's output, BuildKit's plain progress or the classic builder's ▸ its steps, and what went wrong.

Layers are the steps of the Dockerfile that make one (RUN, COPY, ADD, WORKDIR), in all stages that were
needed. FROM is none of them: a base image is had or pulled, never built. BuildKit numbers the same ones; the
classic builder's further steps only set metadata.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from workers.contract.failure import Failure
from workers.engine.blame import build_failure

_NUMBERED = re.compile(r"\[(?:[^\]]* )?\d+/\d+\] (\w+)")
_STEP = re.compile(r"Step (\d+/\d+) : (.+)")
_IMAGE = re.compile(r" ---> ([0-9a-f]{12})")
_LAYERS = {"RUN", "COPY", "ADD", "WORKDIR"}
_ENDED = re.compile(r"(DONE|ERROR:?|CANCELED)(?: (.*))?")
_SUMMARY = re.compile(
    r"^ ?(?:ERROR: |error: )?(failed to (?:build|solve|fetch|resolve|do request|copy).*)$", re.I
)
# BuildKit goes on without a cache that it cannot import.
_NO_MATTER = ("importing cache manifest from", "inferred cache manifest")
# How the lines of the classic builder start that are not a step's own output.
_CLASSIC = ("Step ", " ---> ", "Removing intermediate", "Successfully ", "ERROR: ")
# What workers/engine/classic.py says where a container of the build met its limit.
OUT_OF_MEMORY = "out of memory"
_KEPT = 20  # errors
_TAIL = 20  # pieces: a command that ran out of space says so last
_SHOWN = 5  # steps in the table
_SLOW = 0.05  # seconds: less is not worth a line


@dataclass
class Step:
    """One step of a build."""

    name: str
    seconds: float = 0
    cached: bool = False
    done: bool = False
    failed: bool = False

    @property
    def instruction(self) -> str:
        """Of the Dockerfile, in capitals; empty if it is none of its steps."""
        found = _NUMBERED.match(self.name)
        return found[1].upper() if found else ""


class Progress:
    """Reads a build's output, in pieces that end where lines do; only a long line's last one has a newline.

    A build may print millions of lines, so most are told by their first characters.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.container: str | None = None  # of the classic builder's step that runs now
        self.images: list[str] = []  # what the classic builder has made, oldest first
        self._now = now
        self._steps: dict[str, Step] = {}
        self._failed: tuple[str, str] | None = None  # step, error
        self._classic: Step | None = None
        self._began = 0.0
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self._last = ""
        self._whole = True
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def feed(self, piece: str) -> None:
        """The next piece of output."""
        self._tail.append(piece)
        begins, self._whole = self._whole, piece.endswith("\n")
        if not begins:
            return
        if self._classic is not None:
            if piece.startswith(_CLASSIC):
                self._feed_classic(piece.rstrip())
        elif piece.startswith("#"):
            self._feed_vertex(piece)
        else:
            self._feed_other(piece.rstrip())

    @property
    def layers(self) -> int:
        """Steps that made a layer, or took it from the cache."""
        return sum(step.done and step.instruction in _LAYERS for step in self._steps.values())

    @property
    def cached(self) -> int:
        """Layers of those that came from the cache."""
        return sum(step.cached and step.instruction in _LAYERS for step in self._steps.values())

    @property
    def exporting(self) -> bool:
        """Whether the engine has begun to make the image, and is not known to have given up."""
        return any(step.name == "exporting to image" and not step.failed for step in self._steps.values())

    def table(self) -> str:
        """What came from the cache, and the slowest steps, for the log."""
        slow = [step for step in self._steps.values() if step.cached or step.seconds >= _SLOW]
        slow.sort(key=lambda step: (step.cached, -step.seconds))
        rows = [
            f"{'cached' if step.cached else f'{step.seconds:.1f} s':>9}  {step.name}\n"
            for step in slow[:_SHOWN]
        ]
        first = [f"{self.cached} of {self.layers} layers from cache\n"] if self.layers else []
        return "".join((*first, *rows))

    def failure(self, code: int, dockerfile: str, *, out_of_memory: bool = False) -> Failure:
        """Why a build ended with exit code `code`, which is not 0."""
        step, error = self._failed or (self._classic.name if self._classic else "", "")
        last = [self._last] if self._last and not error else []
        said = list(self._errors) or last
        return build_failure(
            code, step, error, said, dockerfile,
            out_of_memory=out_of_memory or OUT_OF_MEMORY in said,
            full=any("no space left on device" in piece.lower() for piece in self._tail),
        )  # fmt: skip

    def _feed_vertex(self, piece: str) -> None:
        space = piece.find(" ")
        if piece[space + 1 : space + 2].isdigit():  # the seconds before a line that the step itself printed
            return
        number, rest = piece[:space], piece[space + 1 :].rstrip()
        step = self._steps.get(number)
        if step is None:
            self._steps[number] = Step(rest)
        elif rest == "CACHED":
            step.cached = step.done = True
        elif ended := _ENDED.fullmatch(rest):
            self._end(step, ended[1], ended[2] or "")

    def _end(self, step: Step, how: str, what: str) -> None:
        step.done = how == "DONE"
        step.failed = not step.done
        if step.done:
            step.seconds = _seconds(what)
        elif how.startswith("ERROR") and not step.name.startswith(_NO_MATTER):
            self._failed = self._failed or (step.name, what)

    def _feed_classic(self, line: str) -> None:
        assert self._classic is not None  # noqa: S101
        if match := _STEP.fullmatch(line):
            self._end_classic()
            self._begin_classic(match)
        elif line == " ---> Using cache":
            self._classic.cached = True
        elif line.startswith(" ---> Running in "):
            self.container = line.removeprefix(" ---> Running in ")
        elif match := _IMAGE.fullmatch(line):
            self.container = None
            self._classic.done = True
            if self._classic.instruction != "FROM" and not self._classic.cached:
                self.images.append(match[1])
        elif line.startswith("Successfully built "):
            self._end_classic()
        elif line.startswith("ERROR: "):
            self._errors.append(line.removeprefix("ERROR: "))

    def _begin_classic(self, match: re.Match[str]) -> None:
        self._classic = self._steps[match[1]] = Step(f"[{match[1]}] {match[2]}")
        self._began = self._now()

    def _end_classic(self) -> None:
        if self._classic is not None and not self._classic.cached:
            self._classic.seconds = self._now() - self._began

    def _feed_other(self, line: str) -> None:
        if match := _STEP.fullmatch(line):
            self._begin_classic(match)
        elif match := _SUMMARY.match(line):
            self._errors.append(match[1])
        elif line.startswith("ERROR: "):
            self._errors.append(line.removeprefix("ERROR: "))
        elif line.strip("-"):
            self._last = line


def digest_in(said: str) -> str | None:
    """The digest in the output of `docker push`."""
    found = re.findall(r"digest: (sha256:[0-9a-f]{64})", said)
    return found[-1] if found else None


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return 0.0
