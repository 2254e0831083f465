"""What happens in the stand-in, as a stream of typed values, and waiting for a condition without sleeping."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tests.github.model import Comment, Delivery, Deployment, DeploymentStatus, Pull, Reaction, Status

T = TypeVar("T")


@dataclass(frozen=True)
class StatusPosted:
    status: Status


@dataclass(frozen=True)
class CommentCreated:
    comment: Comment


@dataclass(frozen=True)
class CommentEdited:
    comment: Comment
    before: str


@dataclass(frozen=True)
class CommentDeleted:
    comment: Comment


@dataclass(frozen=True)
class ReactionAdded:
    reaction: Reaction


@dataclass(frozen=True)
class ReactionRemoved:
    reaction: Reaction


@dataclass(frozen=True)
class DeploymentCreated:
    deployment: Deployment


@dataclass(frozen=True)
class DeploymentStatusPosted:
    deployment: Deployment
    status: DeploymentStatus


@dataclass(frozen=True)
class PullChanged:
    pull: Pull
    action: str


@dataclass(frozen=True)
class DeliverySent:
    delivery: Delivery


Happening = (
    StatusPosted
    | CommentCreated
    | CommentEdited
    | CommentDeleted
    | ReactionAdded
    | ReactionRemoved
    | DeploymentCreated
    | DeploymentStatusPosted
    | PullChanged
    | DeliverySent
)


class Subscription:
    """An async iterator over what happens from now on; it has no end of its own."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Happening] = asyncio.Queue()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Happening:
        return await self.queue.get()


class Feed:
    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []
        self._changed = asyncio.Event()

    def subscribe(self) -> Subscription:
        subscription = Subscription()
        self._subscriptions.append(subscription)
        return subscription

    def publish(self, happening: Happening) -> None:
        for subscription in self._subscriptions:
            subscription.queue.put_nowait(happening)
        self.touch()

    def touch(self) -> None:
        """Let every `until` look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, predicate: Callable[[], T], timeout: float) -> T:
        """Wait for `predicate` to give something true; return that. After `timeout` seconds: TimeoutError."""
        async with asyncio.timeout(timeout):
            while True:
                changed = self._changed
                if result := predicate():
                    return result
                await changed.wait()
