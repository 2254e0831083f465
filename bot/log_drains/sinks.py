"""The sinks that there are: one for each drain that anybody's lines go to, however many those are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

from bot.log_drains.http import HttpSink
from bot.log_drains.sink import Sink, Target
from bot.log_drains.syslog import DatagramSink, StreamSink


@dataclass
class Turns:
    """A sink, and whose turn it is: those who wait for one that hangs hold nothing but their place."""

    sink: Sink
    turn: asyncio.Semaphore


def sink(target: Target) -> Sink:
    """What speaks as the drain does."""
    match target.address.transport:
        case "tls" | "tcp":
            return StreamSink(target)
        case "udp":
            return DatagramSink(target)
        case _:
            return HttpSink(target)


@dataclass
class Sinks:
    """By their targets."""

    _known: dict[Target, Turns] = field(default_factory=dict)

    def of(self, target: Target) -> Turns:
        if target not in self._known:
            made = sink(target)
            self._known[target] = Turns(made, asyncio.Semaphore(made.at_once))
        return self._known[target]

    async def keep_only(self, targets: Collection[Target]) -> None:
        """Close all others."""
        for target in [one for one in self._known if one not in targets]:
            await self._known.pop(target).sink.close()
