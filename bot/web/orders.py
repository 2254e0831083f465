"""The JSON API's orders: deploy, roll back, promote, stop, wake, maintenance. The same gates hold them."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from sqlmodel import select
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bot.decisions import admission, deploying, plan, quiet, record, tasks, updates
from bot.decisions.commands.control import BACK_SOON, maintained
from bot.decisions.decision import Cause, Decision, Effect, Refused
from bot.decisions.deploying import Wanted
from bot.decisions.desk import Desk
from bot.decisions.forks import fork
from bot.github.client import GitHubError, GitHubRefused
from bot.github.forge import GitHub
from bot.jobs import releases
from bot.store.database import Store
from bot.store.tables import Environment, Repository, Run
from bot.web.api.fields import Signed, Whole, Words
from bot.web.api.models import Ordered, Said
from bot.web.api.operation import Call, Operation, checked, whose
from bot.web.guard import changed
from bot.web.places import found
from bot.web.problems import Refusal
from bot.web.rules import Of, deploys
from config.errors import ConfigError
from config.settings import Settings


class DeployBody(Signed):
    """What is deployed."""

    release: Annotated[Whole | None, Field(description="else a preview's head, or the default branch's")] = (
        None
    )
    pull: Annotated[Whole | None, Field(description="the head of this pull request")] = None


class RollbackBody(Signed):
    """What one goes back to."""

    release: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=40,
            pattern=r"^[^\x00]+$",
            description="its number or commit; else the one before",
        ),
    ] = None


class UpdateBody(Signed):
    """Which service."""

    service: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00]+$")]


class PromoteBody(Signed):
    """Whose images."""

    source: Annotated[str, Field(alias="from", max_length=64, pattern=r"^[^\x00]+$")]


class StopBody(Signed):
    """Whether its services' data goes, too."""

    volumes: Annotated[bool, Field(description="of a preview they go anyway")] = False


class TaskBody(Signed):
    """The path names the task."""


class TaskWanted(TaskBody):
    """With its name."""

    task: Annotated[str, Field(max_length=300)]  # as long as a part of a path may be


class MaintenanceBody(Signed):
    """What visitors are told instead of seeing the app."""

    on: bool
    text: Words = ""


class Held(Exception):
    """Gates hold what is asked for; `wants` is what somebody may approve of."""

    def __init__(self, gates: list[str], wants: Sequence[Effect] = ()) -> None:
        super().__init__("; ".join(gates))
        self.gates = gates
        self.wants = wants


Act = Callable[[Desk, Environment, Any, str], Awaitable[Decision]]


@dataclass(frozen=True)
class Orders:
    """The routes that change something."""

    store: Store
    github: GitHub
    settings: Settings

    def operations(self) -> list[Operation]:
        wake = "/environments/{id:int}/wake"
        return [
            *(self._order(name) for name in _ORDERS),
            Operation(
                "POST",
                wake,
                deploys(Of.ENVIRONMENT),
                "Start a preview that sleeps",
                self.wake,
                Said,
                status=202,
                makes=True,
            ),
        ]

    async def wake(self, call: Call) -> Said:
        environment, _ = await self._place(call.request)
        await quiet.wake(self.store, environment.id or 0)
        changed(call.request, f"woke {environment.name}")
        return Said(message=f"{environment.name} is being woken")

    def _order(self, name: str) -> Operation:
        async def ordered(call: Call) -> Ordered:
            try:
                given = call.body
                if name == "run":
                    given = checked(TaskWanted, {**given.model_dump(), "task": call.path["task"]})
                said, run = await self.done(call.request, name, given, "api", call.key)
            except Held as held:
                raise Refusal("held", str(held), held=held.gates) from None
            return Ordered(message=said, run=run)

        body, _, summary = _ORDERS[name]
        path = f"/environments/{{id:int}}/{'tasks/{task}/runs' if name == 'run' else name}"
        body = TaskBody if name == "run" else body
        return Operation(
            "POST", path, deploys(Of.ENVIRONMENT), summary, ordered, Ordered, None, body, 202, makes=True
        )

    async def done(
        self, request: Request, name: str, given: Any, by: str, key: str
    ) -> tuple[str, int | None]:
        """Do an order to the environment of the path, once for `by` and `key`; what is done, and its run.

        Raises Held, HTTPException.
        """
        body, act, _ = _ORDERS[name]
        environment, repository = await self._place(request)
        said = given if isinstance(given, body) else checked(body, given)
        done, run = await self.decided(
            repository, lambda desk: act(desk, environment, said, f"{by}:{environment.id}:{name}:{key}")
        )
        changed(request, f"{environment.name}: {done}{whose(request, said)}", said.why)
        return done, run

    async def decided(
        self, repository: Repository, act: Callable[[Desk], Awaitable[Decision]]
    ) -> tuple[str, int | None]:
        """Do what `act` decides; what is done, and its run. Raises Held, HTTPException."""
        if repository.inactive:
            raise Refusal("inactive", f"{repository.full_name} is {repository.inactive}")
        desk = Desk(self.github, self.store, repository, self.settings)
        try:
            made = await act(desk)
        except (Refused, ConfigError) as error:
            raise HTTPException(422, str(error)) from None
        except Held as held:
            if held.wants:
                await self._recorded(repository, Decision(str(held), effects=tuple(held.wants)))
            raise
        except GitHubRefused as error:
            raise HTTPException(422, f"GitHub: {error}") from None
        except GitHubError as error:
            raise HTTPException(502, f"GitHub: {error}") from None
        return await self._recorded(repository, made)

    async def _place(self, request: Request) -> tuple[Environment, Repository]:
        async with self.store.reading() as session:
            environment = await found(session, Environment, request)
            repository = await session.get_one(Repository, environment.repository_id)
        if repository.inactive:
            raise Refusal("inactive", f"{repository.full_name} is {repository.inactive}")
        return environment, repository

    async def _recorded(self, repository: Repository, made: Decision) -> tuple[str, int | None]:
        settings = self.settings
        async with self.store.transaction() as session:
            return await record.decision(
                session, repository, made, "", settings.worker_pool, settings.attempts
            )


async def _deploy(desk: Desk, place: Environment, body: DeployBody, key: str) -> Decision:
    if body.pull is not None and body.release is not None:
        raise Refused("name a release or a pull, not both")
    if body.pull is not None and body.pull != place.pull_number:
        return await _pull(desk, place, body.pull, body, key)
    if body.release is not None:
        wanted = await deploying.release(desk, body.release, place.name, body.actor)
        return await gated(desk, wanted, "api deploy", body, key)
    if place.pull_number is not None:
        return await _preview(desk, place.pull_number, body, key)
    return await gated(desk, await deploying.branch(desk, place.name, body.actor), "api deploy", body, key)


async def _pull(desk: Desk, place: Environment, number: int, body: DeployBody, key: str) -> Decision:
    """A pull request's head, as `/deploy ENVIRONMENT` there does it."""
    if place.pull_number is not None:
        raise Refused(f"{place.name} is the preview of #{place.pull_number}, and shows its head alone")
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        raise Refused(f"#{number} is closed")
    if head.fork:
        raise Refused("a fork's commit gets a preview only, after /approve; merge it to deploy it elsewhere")
    wanted = await deploying.head(desk, head, place.name, body.actor, None)
    made = await gated(desk, wanted, "api deploy", body, key)
    assert made.cause is not None, "it is held, or runs"  # noqa: S101
    return dataclasses.replace(made, cause=dataclasses.replace(made.cause, pull_number=number), pull=head)


async def _rollback(desk: Desk, place: Environment, body: RollbackBody, key: str) -> Decision:
    wanted = await deploying.rollback(desk, place.name, body.release, body.actor)
    return await gated(desk, wanted, "api rollback", body, key)


async def _promote(desk: Desk, place: Environment, body: PromoteBody, key: str) -> Decision:
    wanted = await deploying.promotion(desk, body.source, place.name, body.actor)
    return await gated(desk, wanted, "api promote", body, key)


async def _stop(desk: Desk, place: Environment, body: StopBody, key: str) -> Decision:
    held = [str(lock) for lock in await admission.locks(desk, place.name) if lock.owner != body.actor]
    if held:
        raise Held(held)
    async with desk.store.reading() as session:
        last = await releases.newest(session, desk.repository.id, place.name)
    if last is None:
        raise Refused(f"{place.name} runs nothing")
    volumes = body.volumes or place.pull_number is not None
    cause = Cause("api stop", key, f"environment/{place.name}", last.sha, body.actor)
    return Decision(f"stops {place.name}", cause, (plan.stop(place.name, volumes=volumes),))


async def _run(desk: Desk, place: Environment, body: TaskWanted, key: str) -> Decision:
    """A task, as /run does it. Raises Held.

    One that this very order has begun hinders no repetition of it: that is answered as before.
    """
    key, said = f"{key}:{body.task}", f"runs {body.task} in {place.name}"
    async with desk.store.reading() as session:
        done = (await session.exec(select(Run).where(Run.cause_key == key))).first()
    if done is not None:
        return Decision(said, Cause(done.cause, key, done.ref, done.sha, done.actor))
    wanted = await tasks.wanted(desk, body.task, place.name, body.actor)
    made = await gated(desk, wanted, "api run", body, key)
    assert made.cause is not None, "it is held, or runs"  # noqa: S101
    cause = dataclasses.replace(made.cause, fork=wanted.fork)
    return dataclasses.replace(made, reason=said, cause=cause)


async def _update(desk: Desk, place: Environment, body: UpdateBody, key: str) -> Decision:
    """A service, as /update does it. Raises Held."""
    wanted = await updates.wanted(desk, place.name, body.service, body.actor)
    made = await gated(desk, wanted, "api update", body, f"{key}:{body.service}")
    assert made.cause is not None, "it is held, or runs"  # noqa: S101
    cause = dataclasses.replace(made.cause, fork=bool(wanted.jobs[0].spec.get("fork")))
    return dataclasses.replace(made, reason=f"updates {body.service} of {place.name}", cause=cause)


async def _maintenance(desk: Desk, place: Environment, body: MaintenanceBody, _key: str) -> Decision:
    effect = await maintained(desk, place.name, (body.text or BACK_SOON) if body.on else "")
    return Decision(f"{place.name} is {'in maintenance' if body.on else 'open'}", effects=(effect,))


async def gated(desk: Desk, wanted: Wanted, kind: str, body: Signed, key: str) -> Decision:
    """Run what is wanted, if every gate is open. Raises Held."""
    found = await admission.holding(desk, wanted.wish, wanted.holds)
    cause = Cause(kind, key, wanted.ref, wanted.sha, body.actor)
    if hard := [closed for closed in found if not closed.warning]:
        whose = dataclasses.replace(cause, pull_number=wanted.wish.pull)
        wants = admission.wanted(hard, wanted.wish.environment, whose, wanted.release)
        raise Held([str(closed) for closed in hard], wants)
    said = f"deploys {wanted.sha[:7]} to {wanted.wish.environment}"
    return Decision(said, cause, tuple(deploying.because(job, body.why) for job in wanted.jobs))


async def _preview(desk: Desk, number: int, body: Signed, key: str) -> Decision:
    """A pull request's head, as /redeploy does it."""
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        raise Refused(f"#{number} is closed")
    cause = Cause("api deploy", key, f"refs/pull/{number}/head", head.sha, body.actor, number)
    if head.fork:
        made = await fork(desk, head, cause)
        if made.cause is None:
            raise Refused(made.reason)
        return made
    jobs = plan.preview(await desk.config(head.sha), number, head.sha)
    if not jobs:
        raise Refused("the repository has no previews: its file names no environment preview")
    return Decision(f"runs {head.sha[:7]} of #{number}", cause, tuple(jobs), pull=head, waiting="")


_ORDERS: dict[str, tuple[type[Signed], Act, str]] = {
    "deploys": (DeployBody, _deploy, "Deploy to an environment"),
    "rollback": (RollbackBody, _rollback, "Deploy an earlier release again, with its settings"),
    "promote": (PromoteBody, _promote, "Deploy the very images that another environment runs"),
    "stop": (StopBody, _stop, "Remove what an environment runs"),
    "run": (TaskWanted, _run, "Run a task once, in what is live"),
    "update": (UpdateBody, _update, "Have a service run what its tag is now"),
    "maintenance": (MaintenanceBody, _maintenance, "Close an environment to visitors, or open it"),
}
