"""The log of a build that prints 200,000 lines: against the same build by the docker CLI, and in memory.

    make bench ARGS=logs

Ten thousand lines in each of twenty steps, on an engine of its own that takes them as fast as they come:
BuildKit cuts a step's output at 200 KiB a second, and at 2 MiB. That of Docker 20.10 hangs where it is told
to take more than these of one step.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from bench.world import BASE_IMAGE, ENVIRONMENT, World, told, world
from tests.parts.dockerd import Dockerd

ROUNDS = 3
STEPS, LINES = 20, 10_000

SCRIPT = """
"$DOCKER" build --progress=plain --tag "$IMAGE:$SHA" . >"$WORK.log" 2>&1
"$DOCKER" push --quiet "$IMAGE:$SHA"
"""


def dockerfile(nonce: str) -> str:
    line = "0123456789 abcdefghij 0123456789 abcdefghij 0123456789"
    steps = [f"RUN echo {nonce} {step} && yes '{line}' | head -n {LINES} | cat -n" for step in range(STEPS)]
    serves = ["EXPOSE 8080", 'CMD ["httpd", "-f", "-p", "8080"]', ""]
    return "\n".join([f"FROM {BASE_IMAGE}", *steps, *serves])


async def main() -> None:
    """Print the ratio of wall times, and how much the process grew."""
    files = {"Dockerfile": dockerfile("first"), ".blacktree.yml": ENVIRONMENT}
    ours, theirs, grown = [], [], []
    os.environ["BUILDKIT_STEP_LOG_MAX_SPEED"] = str(2**30)
    async with AsyncExitStack() as stack:
        os.environ["DOCKER_HOST"] = stack.enter_context(Dockerd()).url
        here = await stack.enter_async_context(world(files, log_budget="64m", disk_free="100m"))
        await _blacktree(here, "warm up")
        for number in range(ROUNDS):
            seconds, growth = await _blacktree(here, f"ours {number}")
            ours.append(seconds)
            grown.append(growth)
            theirs.append(await _scripted(here, f"theirs {number}"))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print(f"{f'a build that prints {STEPS * LINES} lines':<42} {'Blacktree':>10} {'docker':>10}")
    told("from the webhook to its image in the registry", ours, theirs, "at most 1.10")
    print(f"{'memory growth of bot and worker together':<42} {max(grown) / 1e6:8.1f} MB   goal under 32 MB")


async def _blacktree(here: World, nonce: str) -> tuple[float, int]:
    """Seconds from the push to the end of the job, and bytes that the process grew by."""
    sha = await here.pushed({"Dockerfile": dockerfile(nonce)})
    pid = here.blacktree.processes[0].pid
    sizes = [_resident(pid)]
    seconds = await here.built(sha, lambda: sizes.append(_resident(pid)))
    job = next(job for job in reversed(await here.blacktree.jobs()) if job["kind"] == "build")
    log = await here.blacktree.text(f"/jobs/{job['id']}/log")
    kept = log.count(f"{LINES}\t0123456789")
    if kept != STEPS:
        raise RuntimeError(f"the log of job {job['id']} has the ends of {kept} of {STEPS} steps")
    return seconds, max(sizes) - sizes[0]


def _resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


async def _scripted(here: World, nonce: str) -> float:
    sha = await here.pushed({"Dockerfile": dockerfile(nonce)})
    await here.unheard()
    return await here.by_script(SCRIPT, sha)


if __name__ == "__main__":
    asyncio.run(main())
