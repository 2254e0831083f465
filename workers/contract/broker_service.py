"""The bot's service over RabbitMQ: requests are answered, events are heard, the dead are buried."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator

import structlog
from aio_pika.abc import AbstractIncomingMessage

from config.outages import told
from workers.contract.border import Border, Refused
from workers.contract.broker_connection import BrokerConnection
from workers.contract.broker_link import AGAIN, Link
from workers.contract.broker_topology import Topology
from workers.contract.messages import HeartbeatAnswer, offers
from workers.contract.queue import Answerer, Listener, QueueDown, Undertaker

log = structlog.get_logger()

_REQUESTS, _EVENTS, _LOGS = 16, 1, 32  # messages that one bot holds at once
_HEARINGS = 20  # times that a listener is given one event, over about four minutes
_LONGEST_PAUSE = 15.0  # seconds between two of them

_Handle = Callable[[Link, AbstractIncomingMessage], Awaitable[None]]


async def serve(
    connection: BrokerConnection,
    hearing: BrokerConnection,
    topology: Topology,
    border: Border,
    answerer: Answerer,
    listener: Listener,
    undertaker: Undertaker,
) -> None:
    """Until cancelled: requests several at once, events in order.

    What is heard comes over a connection of its own, which no alarm of the broker's stops: so its queues get
    empty. https://www.rabbitmq.com/docs/alarms#effects-on-clusters
    """

    async def answer(link: Link, message: AbstractIncomingMessage) -> None:
        tasks.create_task(_answer(link, message, topology, border, answerer))

    async def bury(link: Link, message: AbstractIncomingMessage) -> None:
        await _bury(link, message, topology.dead, border, listener, undertaker)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_each(connection, topology.requests, _REQUESTS, answer))
        tasks.create_task(_each(hearing, topology.events, _EVENTS, _heard_by(border, listener)))
        tasks.create_task(_each(connection, topology.dead, 1, bury))


async def hear_lines(
    hearing: BrokerConnection, topology: Topology, border: Border, listener: Listener
) -> None:
    """Until cancelled: log lines, in order as long as one bot alone does."""
    await _each(hearing, topology.logs, _LOGS, _heard_by(border, listener))


def _heard_by(border: Border, listener: Listener) -> _Handle:
    async def hear(link: Link, message: AbstractIncomingMessage) -> None:
        await _hear(link, message, border, listener)

    return hear


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


async def _answer(
    link: Link, message: AbstractIncomingMessage, topology: Topology, border: Border, answerer: Answerer
) -> None:
    """Answer one request; never raises. Without an answer the worker asks again.

    It is settled before: RabbitMQ (3.10.8) ends the connection of who answers an asker at a node that is
    lost, and would bring the request again, and again.
    """
    with contextlib.suppress(QueueDown):
        try:
            question = await border.request(message.body)
            await link.ensure(topology.jobs(question.pool))  # it may not declare what it takes from
            answered = await answerer(question.request)
            for line in answered.lines if isinstance(answered, HeartbeatAnswer) else ():
                await link.ensure(topology.jobs(line))
            answer = question.sealed(answered)
        except Refused as refused:
            answer = refused.reply
        except Exception as error:
            told(log, "request not answered", error)
            answer = b""
        await link.do(message.ack())
        if answer:
            await link.answer(message, answer)


async def _hear(link: Link, message: AbstractIncomingMessage, border: Border, listener: Listener) -> None:
    """Give one event to `listener` until it takes it; the rest waits, so that the order stays.

    What is not taken is rejected: to the dead letters, or for log lines to nowhere; what does not pass the
    border is dropped. Raises QueueDown; then the event is delivered again.
    """
    for pause in _pauses():
        try:
            await listener(await border.event(message.body))
        except Refused:
            return await link.do(message.ack())
        except Exception as error:
            told(log, "event not taken", error, queue=message.routing_key)
            await link.rest(pause)
        else:
            return await link.do(message.ack())
    log.error("event given up", queue=message.routing_key, size=len(message.body))
    return await link.do(message.reject(requeue=False))


def _pauses() -> Iterator[float]:
    """Seconds after each time that an event was not taken."""
    return (min(AGAIN * 2**hearing, _LONGEST_PAUSE) for hearing in range(_HEARINGS))


async def _bury(
    link: Link,
    message: AbstractIncomingMessage,
    dead: str,
    border: Border,
    listener: Listener,
    undertaker: Undertaker,
) -> None:
    """Have it buried. One that cannot be goes to the end of the queue, so that it blocks no other."""
    try:
        await _buried(message.body, border, listener, undertaker)
    except Exception as error:
        told(log, "dead message not buried; kept", error, size=len(message.body))
        await link.rest(AGAIN)
        await link.publish(dead, message.body)
    await link.do(message.ack())


async def _buried(body: bytes, border: Border, listener: Listener, undertaker: Undertaker) -> None:
    """An offer of ours ends its job; an event is heard after all; anything else is nobody's."""
    try:
        offer = offers.validate_json(body)
    except ValueError:
        with contextlib.suppress(Refused):
            await listener(await border.event(body))
        return
    if border.ours(offer):
        await undertaker(offer)
    else:
        log.warning("dead message dropped: it is no offer of ours", job=offer.job)
