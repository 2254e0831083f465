"""What happens in a transaction counts when that has committed: what was rolled back did not happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol

from bot.metrics.instruments import Instruments

P = ParamSpec("P")

_NOTED = "blacktree metrics"  # in the `info` of a session


class Session(Protocol):
    """A session of the store's, as far as it is known here."""

    @property
    def info(self) -> dict[Any, Any]: ...


def note(
    session: Session, told: Callable[Concatenate[Instruments, P], None], *args: P.args, **more: P.kwargs
) -> None:
    """Have the instruments `told` so, if the session commits."""
    session.info.setdefault(_NOTED, []).append(lambda instruments: told(instruments, *args, **more))


def committed(session: Session, instruments: Instruments) -> None:
    """Tell what was noted; the store does."""
    for tell in session.info.pop(_NOTED, ()):
        tell(instruments)
