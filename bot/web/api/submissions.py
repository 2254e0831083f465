"""Runs that a program asks for: what a push, a tag or a pull request's head would do, or a part of it.

The same gates hold them, by the file of now; a retry is such a run of the same commit, too.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from bot.decisions import admission, deploying, plan, previews
from bot.decisions.decision import Cause, Decision, Refused
from bot.decisions.desk import Desk
from bot.decisions.events.pull_request import preview, ref_of
from bot.decisions.events.push import BRANCH, branch_moved
from bot.decisions.events.tags import TAG, tagged
from bot.decisions.plan import PlannedJob
from bot.github.forge import PullHead
from bot.store.tables import Job, Run
from bot.web.api.fields import FullName, Signed, Whole
from bot.web.api.jobs import found_job, run_of
from bot.web.api.models import Ordered
from bot.web.api.operation import Call, Operation, whose
from bot.web.guard import allows, changed
from bot.web.named import named
from bot.web.orders import Held, Orders, gated
from bot.web.problems import Refusal
from bot.web.rules import Of, deploys
from config.errors import nearest
from config.tags import Names
from workers.contract.messages import Kind

_Ref = Annotated[str | None, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x20~^:?*\[\\]+$")]


class RunBody(Signed):
    """Of what, and which part of it: all that a push of it would do, if nothing more is said."""

    repository: FullName
    branch: Annotated[_Ref, Field(description="its head; the default branch's, if nothing is named")] = None
    tag: _Ref = None
    pull: Annotated[Whole | None, Field(description="a pull request's number: its head")] = None
    environment: Annotated[
        str | None,
        Field(min_length=1, max_length=40, pattern=r"^[a-z0-9-]+$", description="deploy to it alone"),
    ] = None
    images: Annotated[
        list[Annotated[str, Field(max_length=100, pattern=r"^[^\x00]+$")]] | None,
        Field(max_length=50, description="build these alone, all if empty, and deploy nothing"),
    ] = None
    fresh: Annotated[bool, Field(description="of `images`: take nothing from earlier builds")] = False


class RetryBody(Signed):
    """Who wants it."""


@dataclass(frozen=True)
class Submissions:
    """The operations."""

    orders: Orders

    def operations(self) -> list[Operation]:
        return [
            Operation(
                "POST",
                "/runs",
                deploys(Of.NAMED),
                "Run a branch, a tag or a pull request",
                self.run,
                Ordered,
                body=RunBody,
                status=202,
                makes=True,
            ),
            Operation(
                "POST",
                "/jobs/{id}/retry",
                deploys(Of.JOB),
                "Run a job once more, with what it needs and what needs it",
                self.retry,
                Ordered,
                body=RetryBody,
                status=202,
                makes=True,
            ),
        ]

    async def run(self, call: Call) -> Ordered:
        body: RunBody = call.body
        async with self.orders.store.reading() as session:
            repository = await named(session, body.repository)
        if repository is None or not await allows(call.request, repository):
            raise Refusal(
                "unknown_repository", f"nothing was heard of {body.repository} yet: push to it once"
            )
        key = f"api:{repository.id}:run:{call.key}"
        try:
            said, run = await self.orders.decided(repository, lambda desk: submitted(desk, body, key))
        except Held as held:
            raise Refusal("held", str(held), held=held.gates) from None
        changed(call.request, f"{said}{whose(call.request, body)}", body.why)
        return Ordered(message=said, run=run)

    async def retry(self, call: Call) -> Ordered:
        async with self.orders.store.reading() as session:
            job = await found_job(session, call)
            run, repository = await run_of(session, job)
        if not job.state.final:
            raise Refusal("in_progress", f"job {job.id} has not ended: cancel it first, or wait")
        key = f"api:{repository.id}:retry:{job.id}:{call.key}"
        try:
            said, again = await self.orders.decided(
                repository, lambda desk: retried(desk, run, job, call.body, key)
            )
        except Held as held:
            raise Refusal("held", str(held), held=held.gates) from None
        by: RetryBody = call.body
        changed(call.request, f"job {job.id} once more: {said}{whose(call.request, by)}", by.why)
        return Ordered(message=said, run=again)


async def submitted(desk: Desk, body: RunBody, key: str) -> Decision:
    """What is asked for, held by what would hold a push or a deploy. Raises Held, Refused, GitHubError."""
    if sum(one is not None for one in (body.branch, body.tag, body.pull)) > 1:
        raise Refused("name a branch, a tag or a pull, and no two of them")
    if body.environment is not None and body.images is not None:
        raise Refused("name an environment or images, not both")
    if body.environment is not None:
        return await _deployed(desk, body, body.environment, "api run", key)
    if body.images is not None:
        return await _built(desk, body, body.images, key)
    return await _admitted(desk, await _whole(desk, body, "api run", key))


async def retried(desk: Desk, run: Run, job: Job, by: RetryBody, key: str) -> Decision:
    """This job once more, what it needs and what needs it, if the run's commit is what its ref is at."""
    body = _of(desk, run, by)
    if job.kind is Kind.STOP:
        raise Refused(f"stop {job.environment} again instead")
    made = await _whole(desk, body, "api retry", key)
    if made.cause is not None and made.cause.sha != run.sha:
        raise Refusal("moved", f"{run.ref} is at {made.cause.sha[:7]} by now: that has a run of its own")
    kept = around(made.jobs, job.kind, job.name)
    if not kept and job.kind is Kind.DEPLOY and job.environment and not plan.is_preview(job.environment):
        return await _deployed(desk, body, job.environment, "api retry", key)
    if not kept:
        raise Refused(f"the file asks for no {job.kind.value} {job.name} any more")
    left_out = set(range(len(made.jobs))) - kept
    alone = dataclasses.replace(made, jobs=admission.without(made.jobs, left_out), notes=())
    return await _admitted(desk, alone)


def around(jobs: tuple[PlannedJob, ...], kind: Kind, name: str) -> set[int]:
    """Pure: the places of a job, of all that need it, and of what those need."""
    kept = {place for place, job in enumerate(jobs) if (job.kind, job.name) == (kind, name)}
    while more := {place for place, job in enumerate(jobs) if kept & set(job.needs)} - kept:
        kept |= more
    while more := {need for place in kept for need in jobs[place].needs} - kept:
        kept |= more
    return kept


def _of(desk: Desk, run: Run, by: RetryBody) -> RunBody:
    """What had to be asked for to get this run."""
    known: dict[str, Any] = {"repository": desk.repository.full_name, "actor": by.actor, "why": by.why}
    if run.pull_number is not None and run.ref == ref_of(run.pull_number):
        return RunBody(**known, pull=run.pull_number)
    if run.ref.startswith(BRANCH):
        return RunBody(**known, branch=run.ref.removeprefix(BRANCH))
    if run.ref.startswith(TAG):
        return RunBody(**known, tag=run.ref.removeprefix(TAG))
    raise Refused(f"it came of `{run.cause}`: order that again")


async def _whole(desk: Desk, body: RunBody, kind: str, key: str) -> Decision:
    """All that a push of it would do."""
    if body.pull is not None:
        head = await _head(desk, body.pull)
        return await preview(
            desk, head, Cause(kind, key, ref_of(head.number), head.sha, body.actor, head.number)
        )
    if body.tag is not None:
        made = await tagged(desk, body.tag, body.actor)
        named_ = None if made.cause is None else dataclasses.replace(made.cause, kind=kind, key=key)
        return dataclasses.replace(made, cause=named_)
    branch, sha = await _branch(desk, body.branch)
    return await branch_moved(desk, branch, Cause(kind, key, BRANCH + branch, sha, body.actor), None)


async def _admitted(desk: Desk, made: Decision) -> Decision:
    """As any delivery's decision is; what leads to nothing is refused, and nobody else is told."""
    made = await previews.capped(desk, await admission.admitted(desk, made))
    if made.cause is None:
        raise Refused(made.reason.removeprefix("ignored: "))
    return made


async def _deployed(desk: Desk, body: RunBody, name: str, kind: str, key: str) -> Decision:
    """To one environment alone, whatever else its ref reaches."""
    if body.tag is not None:
        raise Refused("a tag deploys to the environments that take it: leave the environment out")
    if body.pull is not None:
        head = await _head(desk, body.pull)
        _not_a_forks(head)
        return await gated(desk, await deploying.head(desk, head, name, body.actor, None), kind, body, key)
    if body.branch not in (None, desk.repository.default_branch):
        raise Refused(f"only {desk.repository.default_branch} and pull requests are deployed by their names")
    return await gated(desk, await deploying.branch(desk, name, body.actor), kind, body, key)


async def _built(desk: Desk, body: RunBody, images: list[str], key: str) -> Decision:
    if body.tag is not None:
        raise Refused("images are built of a branch or a pull request")
    head = None if body.pull is None else await _head(desk, body.pull)
    if head is not None:
        _not_a_forks(head)
        names = Names(head.sha, head.ref, branch=head.ref, pr=head.number)
        config, ref = await desk.config(head.sha), ref_of(head.number)
    else:
        default = desk.repository.default_branch
        branch, sha = await _branch(desk, body.branch)
        names = Names(sha, branch, branch=branch, default_branch=default)
        config, ref = await desk.config(sha, branch), BRANCH + branch
        if not plan.push(config, branch, default, sha):
            raise Refused(f"no environment takes pushes to {branch}: open a pull request, and name that")
    for image in images:
        if image not in config.images:
            raise Refused(f"there is no image {image}.{nearest(image, config.images)}")
    jobs = plan.build(config, names, fresh=body.fresh)
    wanted = tuple(job for job in jobs if not images or job.name in images)
    cause = Cause("api run", key, ref, names.sha, body.actor, body.pull)
    return Decision(f"builds {names.sha[:7]}", desk.caused(cause, config), wanted, pull=head)


async def _head(desk: Desk, number: int) -> PullHead:
    head = await desk.github.pull(desk.repository, number)
    if not head.open:
        raise Refused(f"#{number} is closed")
    return head


def _not_a_forks(head: PullHead) -> None:
    if head.fork:
        raise Refused("a fork's commit gets a preview only, after /approve; merge it to deploy it elsewhere")


async def _branch(desk: Desk, wanted: str | None) -> tuple[str, str]:
    """A branch, and the commit that it is at."""
    branch = wanted or desk.repository.default_branch
    sha = await desk.head(branch)
    if sha is None:
        raise Refused(f"there is no branch {branch}")
    return branch, sha
