"""The story of a task: a command, once, beside the release that is live: pull ▸ task.

It has what a container of that release has: image, variables, secrets, volumes, and the networks that its
containers are on. Its own container is gone when it ends, however it does.
"""

from __future__ import annotations

from workers.attempt import Attempt
from workers.contract.failure import ours, user
from workers.contract.messages import DeploySpec, Limits, Step, TaskSpec
from workers.deploy import names, swarm
from workers.deploy.parts import parts
from workers.deploy.pull import pulled
from workers.deploy.release import commanded, ended
from workers.engine.labels import refuse
from workers.tools import Tools

_KILLED = 137  # by SIGKILL, which is how the kernel takes memory back


async def run_task(attempt: Attempt, spec: TaskSpec, tools: Tools) -> None:
    """Run it to its end. Raises Failure."""
    release = as_process(spec)
    async with attempt.step(Step.PULL):
        image = await pulled(attempt, release, tools)
        refuse(image.claims)
        network, networks = await _networks(release, tools)
    what = f"task-{spec.name}"
    command = commanded(attempt, release, spec.command, tools, network, networks, what)
    async with attempt.step(Step.TASK):
        code = await ended(attempt, command, spec.timeout, tools)
        if code is None:
            raise user(
                "task_timeout",
                f"{spec.name} lasted longer than {spec.timeout:g} s, and was ended: raise its timeout, or"
                " make it quicker",
            )
        if code != 0:
            raise user("task_failed", f"{spec.name} {said(code, release.limits)}", exit_code=code)


def said(code: int, limits: Limits) -> str:
    """Pure: how a command ended, for people."""
    why = "its output in the log says why"
    if code == _KILLED:
        why = f"it was killed, as is what takes more memory than {limits.memory // 2**20} MB (limits.memory)"
    return f"ended with exit code {code}: {why}"


def as_process(spec: TaskSpec) -> DeploySpec:
    """Pure: the release as the task's process has it, or as its environment does. Raises Failure."""
    release = spec.release
    if spec.process:
        known = {part.name: part.spec for part in parts(release)}
        if spec.process not in known:
            raise user("no_process", f"What is live has no process {spec.process}: say it again")
        release = known[spec.process]
    return release.model_copy(update={"env": {**release.env, "BLACKTREE_TASK": spec.name}})


async def _networks(release: DeploySpec, tools: Tools) -> tuple[str, list[str]]:
    """Those that the release's containers are on. Raises Failure."""
    if release.target == "swarm":
        await swarm.needed(tools)
        shared = [names.shared_overlay(release.instance, release.repository, one) for one in release.networks]
        return names.service(release.instance, release.repository, release.environment), shared
    theirs = await tools.engine.containers({"worker": tools.worker, "release": release.release})
    if not theirs:
        raise ours("release_gone", f"{release.environment} has no container on this worker any more")
    first, *others = theirs[0].networks
    return first, others
