"""What ends an attempt early: whose fault, for programs and for people."""

from __future__ import annotations

from workers.contract.messages import Fault

DISK_FULL = "disk_full"  # the reason by which a slot knows that space ran out


class Failure(Exception):
    """Raised where a failure is known; turned into `Failed` in one place (workers/attempt.py)."""

    def __init__(self, fault: Fault, reason: str, sentence: str, exit_code: int | None = None) -> None:
        super().__init__(sentence)
        self.fault = fault
        self.reason = reason
        self.sentence = sentence
        self.exit_code = exit_code


def user(reason: str, sentence: str, exit_code: int | None = None) -> Failure:
    """The repository's fault: `sentence` says what to change. `exit_code`: of a command of its own."""
    return Failure(Fault.USER, reason, sentence, exit_code)


def ours(reason: str, sentence: str) -> Failure:
    """Ours, and another try may help."""
    return Failure(Fault.OURS, reason, sentence)


def final(reason: str, sentence: str) -> Failure:
    """Ours, and another try would not help: somebody must change this instance."""
    return Failure(Fault.FINAL, reason, sentence)
