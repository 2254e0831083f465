"""From a push to its image in the registry, against a script that clones, builds and pushes.

    make bench ARGS=builds

Cold: no layer is cached. Warm: one source file changed. Same inputs: the commit's tree was built before.
Both sides do each round one after the other, on the same engine, registry and git server.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

from bench.world import BASE_IMAGE, ENVIRONMENT, World, docker, script, told, world

ROUNDS = 3
_ASSETS = 24  # files of a megabyte that git has to carry

SCRIPT = """
rm -rf "$WORK"
git clone --quiet --depth 1 "$URL" "$WORK"
cd "$WORK"
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
            "COPY source /source",
            "EXPOSE 8080",
            'CMD ["httpd", "-f", "-p", "8080", "-h", "/assets"]',
            "",
        ]
    )


async def main() -> None:
    """Print the three figures."""
    assets = {f"assets/{number}.txt": uuid.uuid4().hex * 32_768 for number in range(_ASSETS)}
    files = {"Dockerfile": dockerfile("first"), "source": "first", **assets}
    async with world({**files, ".blacktree.yml": ENVIRONMENT}) as here:
        await script(
            'echo "$PASSWORD" | "$DOCKER" login --username "$NAME" --password-stdin "$HOST"',
            DOCKER=docker(), NAME=here.registry.username, PASSWORD=here.registry.password,
            HOST=here.registry.address,
        )  # fmt: skip
        await _blacktree(here, {"source": "warm up"})
        await _scripted(here, {"source": "warm up too"})
        cold, warm, same = [], [], []
        for number in range(ROUNDS):
            file = {"Dockerfile": dockerfile(f"cold {number}")}
            cold.append(await _round(here, {**file, "source": f"start {number}"}, forget=True))
            warm.append(await _round(here, {**file, "source": f"warm {number}"}))
            # What is live already would not even be looked at: this goes back to what was before it.
            same.append(await _round(here, {**file, "source": f"start {number}"}))
            print(f"round {number + 1} of {ROUNDS}", file=sys.stderr)
        print(f"{'push to image in the registry':<42} {'Blacktree':>10} {'script':>10}")
        for figure, rounds, goal in (
            ("cold cache", cold, 1.05),
            ("warm cache", warm, 1.05),
            ("same inputs", same, 0.2),
        ):
            told(figure, [ours for ours, _ in rounds], [theirs for _, theirs in rounds], f"at most {goal}")


async def _round(here: World, change: dict[str, str], *, forget: bool = False) -> tuple[float, float]:
    """Both sides with a change of the same kind, each with a text of its own: (Blacktree, script)."""
    if forget:
        await here.forget_cache()
    ours = await _blacktree(here, change)
    if forget:
        await here.forget_cache()
    return ours, await _scripted(here, {name: f"{text}\n# again\n" for name, text in change.items()})


async def _blacktree(here: World, change: dict[str, str]) -> float:
    sha = await here.pushed(dict(change))
    begun = time.perf_counter()
    await here.work.push(branch="main")
    await here.until_pushed(sha)
    seconds = time.perf_counter() - begun
    await here.blacktree.until(lambda: _idle(here), "the instance to be idle", 120)
    return seconds


async def _idle(here: World) -> bool:
    """Nothing of it runs that the script would have to share the machine with."""
    ended = ("succeeded", "failed", "cancelled")
    return all(job["state"] in ended for job in await here.blacktree.jobs())


async def _scripted(here: World, change: dict[str, str]) -> float:
    """The same as a script beside it; its push reaches no webhook."""
    sha = await here.pushed(dict(change))
    hook, here.github.app.hook_url = here.github.app.hook_url, None
    begun = time.perf_counter()
    await here.work.push(branch="main")
    pushing = time.perf_counter() - begun
    seconds = await script(
        SCRIPT, DOCKER=docker(), WORK=str(here.folder / "script"), URL=here.clone_url, SHA=sha,
        IMAGE=f"{here.registry.address}/acme/script",
    )  # fmt: skip
    here.github.app.hook_url = hook
    return pushing + seconds


if __name__ == "__main__":
    asyncio.run(main())
