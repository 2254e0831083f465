"""The bot's service over RabbitMQ: requests are answered, events are heard, the dead are buried."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import structlog
from aio_pika.abc import AbstractIncomingMessage

from workers.contract.broker_connection import BrokerConnection
from workers.contract.broker_link import AGAIN, Link, encoded
from workers.contract.broker_topology import Topology
from workers.contract.messages import events, requests
from workers.contract.queue import Answerer, Listener, QueueDown, Undertaker

log = structlog.get_logger()

_REQUESTS, _EVENTS, _LOGS = 16, 1, 32  # messages that one bot holds at once
_HEARINGS = 20  # times that a listener is given one event, over about four minutes
_LONGEST_PAUSE = 15.0  # seconds between two of them

_Handle = Callable[[Link, AbstractIncomingMessage], Awaitable[None]]


async def serve(
    connection: BrokerConnection,
    topology: Topology,
    answerer: Answerer,
    listener: Listener,
    undertaker: Undertaker,
) -> None:
    """Until cancelled: requests several at once, events and log lines each in order."""

    async def answer(link: Link, message: AbstractIncomingMessage) -> None:
        tasks.create_task(_answer(link, message, answerer))

    async def hear(link: Link, message: AbstractIncomingMessage) -> None:
        await _hear(link, message, listener)

    async def bury(link: Link, message: AbstractIncomingMessage) -> None:
        await _bury(link, message, undertaker, topology.dead)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_each(connection, topology.requests, _REQUESTS, answer))
        tasks.create_task(_each(connection, topology.events, _EVENTS, hear))
        tasks.create_task(_each(connection, topology.logs, _LOGS, hear))
        tasks.create_task(_each(connection, topology.dead, 1, bury))


async def _each(connection: BrokerConnection, queue: str, prefetch: int, handle: _Handle) -> None:
    """Handle every message of a queue, one after the other, for ever."""
    while True:
        link = await connection.link()
        try:
            async with link.consuming(queue, prefetch) as consumer:
                while True:
                    await handle(link, await consumer.next())
        except QueueDown as error:
            await link.refused(queue, error)


async def _answer(link: Link, message: AbstractIncomingMessage, answerer: Answerer) -> None:
    """Answer one request; never raises. Without an answer the worker asks again."""
    with contextlib.suppress(QueueDown):
        try:
            request = requests.validate_json(message.body)
        except ValueError:
            log.warning("request dropped: it cannot be read", size=len(message.body))
        else:
            try:
                answer = await answerer(request)
            except Exception:
                log.exception("request not answered", kind=request.kind)
            else:
                await link.answer(message, encoded(answer))
        await link.do(message.ack())


async def _hear(link: Link, message: AbstractIncomingMessage, listener: Listener) -> None:
    """Give one event to `listener` until it takes it; the rest waits, so that the order stays.

    What cannot be read or is not taken is rejected: to the dead letters, or for log lines to nowhere.
    Raises QueueDown; then the event is delivered again.
    """
    try:
        event = events.validate_json(message.body)
    except ValueError:
        log.warning("event rejected: it cannot be read", queue=message.routing_key, size=len(message.body))
        return await link.do(message.reject(requeue=False))
    for pause in _pauses():
        try:
            await listener(event)
        except Exception:
            log.exception("event not taken", job=event.job, attempt=event.attempt, event_kind=event.kind)
            await link.rest(pause)
        else:
            return await link.do(message.ack())
    log.error("event given up", job=event.job, attempt=event.attempt, event_kind=event.kind)
    return await link.do(message.reject(requeue=False))


def _pauses() -> Iterator[float]:
    """Seconds after each time that an event was not taken."""
    return (min(AGAIN * 2**hearing, _LONGEST_PAUSE) for hearing in range(_HEARINGS))


async def _bury(link: Link, message: AbstractIncomingMessage, undertaker: Undertaker, dead: str) -> None:
    """Have it buried. One that cannot be goes to the end of the queue, so that it blocks no other."""
    try:
        await undertaker(message.body)
    except Exception:
        log.exception("dead message not buried; kept", size=len(message.body))
        await link.rest(AGAIN)
        await link.publish(dead, message.body)
    await link.do(message.ack())
