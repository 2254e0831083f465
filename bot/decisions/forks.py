"""A stranger's pull request: nothing of it runs before somebody with write access approves that commit.

Then it builds without secrets, with tags and a cache of its own, in a pool that may be separate, and
what it may do is said by the default branch's file, how it runs by its base branch's.
"""

from __future__ import annotations

import dataclasses

from bot.decisions import admission, plan
from bot.decisions.decision import Cause, Complaint, Decision, Want
from bot.decisions.desk import Desk, bad_config
from bot.decisions.plan import PlannedJob
from bot.github.forge import PullHead
from bot.reports.texts import MOST_STATUS, shortened
from config.authority import strangers
from config.errors import ConfigError
from config.repository import Repository as Config
from config.settings import Settings
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
    why = (
        f"#{head.number} comes from a fork: nothing of it is built before somebody with write access approves"
    )
    want = Want("", head.number, head.sha, f"refs/pull/{head.number}/head", head.author, why)
    return Decision(reason, pull=head, waiting=waiting, notes=(note,), effects=(want,))


async def approved(desk: Desk, head: PullHead, cause: Cause) -> Decision:
    """Run an approved commit of a fork: its own file says only how its images are built."""
    try:
        config = strangers(await _base(desk, head.base), await desk.file(head.sha))
    except ConfigError as error:
        return bad_config(head.sha, error, pull=head)
    pool = pool_of(config, desk.settings, desk.repository.full_name)
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


async def _base(desk: Desk, branch: str) -> Config:
    """What a pull request's base branch is run as. Raises ConfigError and GitHubError."""
    default = desk.repository.default_branch
    if branch == default:
        return await desk.ruling()
    sha = await desk.head(branch)
    return await desk.ruling() if sha is None else await desk.config(sha)


def pool_of(config: Config, settings: Settings, full_name: str) -> str | None:
    """Where a repository's forks run; None for where all else of it does.

    FORK_POOL decides; a file's word counts where that is not set, or the administrator trusts its repository.
    """
    heard = not settings.fork_pool or settings.trusts(full_name)
    return (config.fork_pool if heard else None) or settings.fork_pool or None


def _stranger(job: PlannedJob, head: PullHead, pool: str | None) -> PlannedJob:
    """The job without secrets, shared tags or a shared cache."""
    spec = {**job.spec, "fork": True, "secrets": []}
    if job.kind is Kind.BUILD:
        spec |= {"tags": [head.sha], "registries": [], "ssh": None}
    return dataclasses.replace(job, spec=spec, pool=pool or job.pool)
