"""From a push to its image in the registry, against a script that clones, builds and pushes.

    make bench ARGS=builds

Cold: no layer is cached. Warm: one source file changed. Same inputs: the commit's tree was built before.
Both begin when GitHub has the commit: ours with its request, the script right after the push.
Both sides do each round one after the other, on the same engine, registry and git server.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

from bench.world import BASE_IMAGE, ENVIRONMENT, World, sources, told, world

Way = Callable[[World, dict[str, str]], Awaitable[float]]

ROUNDS = 3
_GOALS = {"cold cache": 1.05, "warm cache": 1.05, "same inputs": 0.2}

SCRIPT = """
"$DOCKER" build --quiet --tag "$IMAGE:$SHA" .
"$DOCKER" push --quiet "$IMAGE:$SHA"
"""


def dockerfile(nonce: str) -> str:
    """A step that works and waits for some seconds, as compilers and downloads do, then the source."""
    work = "for i in 1 2 3 4; do head -c 12000000 /dev/urandom | gzip | gzip >/layer.$i; done; sleep 3"
    return "\n".join(
        [
            f"FROM {BASE_IMAGE}",
            f"RUN echo {nonce} && {work}",
            "COPY assets /assets",
            "COPY lib /lib",
            "COPY source /source",
            "EXPOSE 8080",
            'CMD ["httpd", "-f", "-p", "8080", "-h", "/assets"]',
            "",
        ]
    )


async def main() -> None:
    """Print the three figures."""
    files = {"Dockerfile": dockerfile("first"), "source": "first", ".blacktree.yml": ENVIRONMENT}
    async with world({**files, **sources()}) as here:
        await _blacktree(here, {"source": "warm up"})
        await _scripted(here, {"source": "warm up too"})
        ours, theirs = [], []
        for number in range(ROUNDS):
            ours.append(await _round(here, _blacktree, f"ours {number}"))
            theirs.append(await _round(here, _scripted, f"theirs {number}"))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        print(f"{'push to image in the registry':<42} {'Blacktree':>10} {'script':>10}")
        for number, (figure, goal) in enumerate(_GOALS.items()):
            mine, other = ([seconds[number] for seconds in rounds] for rounds in (ours, theirs))
            told(figure, mine, other, f"at most {goal}")


async def _round(here: World, way: Way, nonce: str) -> list[float]:
    """The seconds of each figure, one side's way. Only the first finds no layer."""
    await here.forget_cache()
    file = {"Dockerfile": dockerfile(nonce)}
    # What is live already would not even be looked at: the last one goes back to what was before it.
    return [await way(here, {**file, "source": f"{nonce} {text}"}) for text in ("first", "other", "first")]


async def _blacktree(here: World, change: dict[str, str]) -> float:
    seconds = await here.built(await here.pushed(dict(change)))
    await here.idle()
    return seconds


async def _scripted(here: World, change: dict[str, str]) -> float:
    """The same as a script beside it."""
    sha = await here.pushed(dict(change))
    await here.unheard()
    return await here.by_script(SCRIPT, sha)


if __name__ == "__main__":
    asyncio.run(main())
