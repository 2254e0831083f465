"""A stranger's pull request: nothing of it runs before somebody with write access approves that commit.

Then it builds without secrets, with tags and a cache of its own, in a pool that may be separate, and
what it may do is said by the base branch's file.
"""

from __future__ import annotations

import dataclasses

from bot import admission, plan
from bot.decision import Cause, Complaint, Decision
from bot.events.desk import Desk, bad_config
from bot.github.forge import PullHead
from bot.plan import PlannedJob
from bot.texts import MOST_STATUS, shortened
from config.errors import ConfigError
from config.repository import merged_for_fork
from workers.contract.messages import Kind

CONTEXT = "blacktree/build"


async def fork(desk: Desk, head: PullHead, cause: Cause) -> Decision:
    """Wait for an approval of this very commit, or run it as a stranger's."""
    approvers = [who for who in await admission.approvers_of(desk, head.sha) if await desk.may_write(who)]
    return await approved(desk, head, cause) if approvers else waits(head)


def waits(head: PullHead) -> Decision:
    """For whom a stranger's commit waits, said in a status and in the comment."""
    waiting = (
        f"This pull request comes from a fork: nothing of it is built before somebody with write access "
        f"has looked at it and comments\n/approve {head.sha}"
    )
    description = shortened(f"Waits for /approve {head.sha} by somebody with write access", MOST_STATUS)
    note = Complaint(head.sha, CONTEXT, description, "pending")
    reason = f"waits: #{head.number} comes from a fork, and nobody has approved {head.sha[:7]}"
    return Decision(reason, pull=head, waiting=waiting, notes=(note,))


async def approved(desk: Desk, head: PullHead, cause: Cause) -> Decision:
    """Run an approved commit of a fork: what it may do is the base branch's to say."""
    try:
        trusted = await desk.config(await desk.github.branch_head(desk.repository, head.base) or head.base)
        config = merged_for_fork(trusted, await desk.config(head.sha))
    except ConfigError as error:
        return bad_config(head.sha, error, pull=head)
    pool = config.fork_pool or desk.settings.fork_pool or None
    jobs = tuple(_stranger(job, head, pool) for job in plan.preview(config, head.number, head.sha))
    if not jobs:
        done = Complaint(head.sha, CONTEXT, "The repository has no previews", "success")
        return Decision("ignored: the repository has no previews", pull=head, waiting="", notes=(done,))
    named = [job.context for job in jobs]
    left = () if CONTEXT in named else (Complaint(head.sha, CONTEXT, "Approved", "success"),)
    cause = dataclasses.replace(cause, fork=True)
    return Decision(
        f"runs {head.sha[:7]} of #{head.number}, a fork's, approved",
        cause,
        jobs,
        head,
        waiting="",
        notes=left,
    )


def _stranger(job: PlannedJob, head: PullHead, pool: str | None) -> PlannedJob:
    """The job without secrets, shared tags or a shared cache."""
    spec = {**job.spec, "fork": True, "secrets": []}
    if job.kind is Kind.BUILD:
        spec |= {"tags": [f"fork-pr-{head.number}-{head.sha}"], "registries": [], "ssh": None}
        # https://docs.docker.com/build/building/variables: the namespace of cache mounts.
        spec["args"] = {**spec["args"], "BUILDKIT_CACHE_MOUNT_NS": f"fork-pr-{head.number}"}
    return dataclasses.replace(job, spec=spec, pool=pool or job.pool)
