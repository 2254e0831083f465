"""The log of a build that prints 200,000 lines: against the same build by the docker CLI, and in memory.

make bench ARGS=logs
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bench.world import BASE_IMAGE, World, told, world

ROUNDS = 3
LINES = 200_000

SCRIPT = """
"$DOCKER" build --progress=plain --tag "$IMAGE:$SHA" . >"$WORK.log" 2>&1
"$DOCKER" push --quiet "$IMAGE:$SHA"
"""


def dockerfile(nonce: str) -> str:
    line = "0123456789 abcdefghij 0123456789 abcdefghij 0123456789"
    steps = f"FROM {BASE_IMAGE}\nRUN echo {nonce} && yes '{line}' | head -n {LINES} | cat -n\n"
    return f'{steps}EXPOSE 8080\nCMD ["httpd", "-f", "-p", "8080"]\n'


async def main() -> None:
    """Print the ratio of wall times, and how much the process grew."""
    files = {
        "Dockerfile": dockerfile("first"),
        ".blacktree.yml": "environments: {production: {stability: 0, drain: 1}}\n",
    }
    ours, theirs, grown = [], [], []
    async with world(files, log_budget="64m") as here:
        await _blacktree(here, "warm up")
        for number in range(ROUNDS):
            seconds, growth = await _blacktree(here, f"ours {number}")
            ours.append(seconds)
            grown.append(growth)
            theirs.append(await _scripted(here, f"theirs {number}"))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
    print(f"{f'a build that prints {LINES} lines':<42} {'Blacktree':>10} {'docker':>10}")
    told("from push to its end, no push of an image", ours, theirs, "at most 1.10")
    print(f"{'memory growth of bot and worker together':<42} {max(grown) / 1e6:8.1f} MB   goal under 32 MB")


async def _blacktree(here: World, nonce: str) -> tuple[float, int]:
    """Seconds from the push to the end of the job, and bytes that the process grew by."""
    sha = await here.pushed({"Dockerfile": dockerfile(nonce)})
    pid = here.blacktree.processes[0].pid
    sizes = [_resident(pid)]
    seconds = await here.built(sha, lambda: sizes.append(_resident(pid)))
    job = next(job for job in reversed(await here.blacktree.jobs()) if job["kind"] == "build")
    log = await here.blacktree.text(f"/jobs/{job['id']}/log")
    assert str(LINES) in log.partition("push")[0][-4000:], "the tail is there"
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
