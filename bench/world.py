"""The same world for every figure: a GitHub stand-in, a registry, an instance, and a shell script's way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.github import GitHub, Repository, User, WorkTree
from tests.instance import Instance, instance
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry

# A repository of some size, of text that does not compress well: 2,000 sources of 12 kB, 24 MB besides.
_SOURCES, _SOURCE_BYTES, _ASSETS, _ASSET_BYTES = 2000, 12_000, 24, 1_000_000
# Deploys that are over when they have switched, so that the next figure has the machine for itself.
ENVIRONMENT = "environments: {production: {stability: 0, drain: 1, grace: 1}}\n"
_LOOK = 0.005  # seconds between two looks of whoever waits
_TAGS = "images/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
_LOGIN = 'echo "$PASSWORD" | "$DOCKER" login --username "$NAME" --password-stdin "$HOST"'
_CLONED = """
rm -rf "$WORK"
git clone --quiet --depth 1 "$URL" "$WORK"
cd "$WORK"
"""


@dataclass
class World:
    """What a figure is measured in."""

    github: GitHub
    registry: Registry
    engine: Engine
    blacktree: Instance
    user: User
    repository: Repository
    work: WorkTree
    folder: Path

    @property
    def clone_url(self) -> str:
        """With credentials, as a script has them."""
        return self.repository.clone_url.replace("://", f"://{self.user.login}:{self.user.token}@")

    async def pushed(self, files: dict[str, str | None]) -> str:
        """Commit without a push; the SHA."""
        return await self.work.commit(files, message="Change")

    async def built(self, sha: str, look: Callable[[], None] = lambda: None, limit: float = 300) -> float:
        """Push what was committed; seconds from GitHub's request to the commit's image in the registry.

        Looks at the registry's files, since each request to it is work for the machine: it checks a password.
        `look` is called at each look.
        """
        await self.work.push(branch="main")
        tag = self.registry.folder / _TAGS.format(repository="acme/acme/shop", tag=sha)
        async with asyncio.timeout(limit):
            while not tag.exists():
                look()
                await asyncio.sleep(_LOOK)
        return time.time() - self.told_at(sha)

    def told_at(self, sha: str) -> float:
        """When GitHub told of a push, in seconds since 1970."""
        pushes = (one for one in self.github.deliveries if one.event == "push")
        return next(one for one in pushes if one.payload["after"] == sha).sent_at

    async def unheard(self) -> None:
        """Push what was committed, and let no webhook tell of it."""
        hook, self.github.app.hook_url = self.github.app.hook_url, None
        await self.work.push(branch="main")
        self.github.app.hook_url = hook

    async def idle(self) -> None:
        """Wait until nothing of Blacktree goes on that a script would have to share the machine with."""
        await self.blacktree.until(self._is_idle, "the instance to be idle", 120)

    async def _is_idle(self) -> bool:
        ended = ("succeeded", "failed", "cancelled")
        if not all(job["state"] in ended for job in await self.blacktree.jobs()):
            return False
        containers = await asyncio.to_thread(self.engine.containers, "io.blacktree.repository=acme/shop")
        return len(containers) <= 1  # the old release is drained and gone

    async def by_script(self, text: str, sha: str, **env: str) -> float:
        """The seconds of a script that has cloned the repository, and is logged in to the registry."""
        return await script(
            _CLONED + text, DOCKER=docker(), WORK=str(self.folder / "script"), URL=self.clone_url, SHA=sha,
            IMAGE=f"{self.registry.address}/acme/script", **env,
        )  # fmt: skip

    async def forget_cache(self) -> None:
        """No layer of any earlier build is there any more."""
        await asyncio.to_thread(self.engine.client.images.prune, {"dangling": True})
        await asyncio.to_thread(self.engine.client.api.prune_builds, all=True)


def sources() -> dict[str, str]:
    """What makes a repository one of some size: folders `lib` and `assets`."""
    lib = {f"lib/{number % 50}/{number}.txt": _text(_SOURCE_BYTES) for number in range(_SOURCES)}
    return lib | {f"assets/{number}.txt": _text(_ASSET_BYTES) for number in range(_ASSETS)}


def _text(size: int) -> str:
    return secrets.token_hex(size // 2)


@contextlib.asynccontextmanager
async def world(files: dict[str, str], **settings: str) -> AsyncIterator[World]:
    """A repository acme/shop with `files`, and a running `blacktree up` that pushes to a registry."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        async with contextlib.AsyncExitStack() as stack:
            registry, engine = stack.enter_context(Registry()), stack.enter_context(Engine())
            engine.base_image()
            await script(
                _LOGIN, DOCKER=docker(), NAME=registry.username, PASSWORD=registry.password,
                HOST=registry.address,
            )  # fmt: skip
            stack.callback(engine.remove, "io.blacktree.repository=acme/shop")
            github = await stack.enter_async_context(GitHub.running(folder / "github"))
            ada = github.user("ada")
            shop = await github.create_repository("acme/shop", files, collaborators={"ada": "write"})
            await shop.bare.git("repack", "-adq")  # as GitHub keeps them: no clone waits for packing
            known = {
                "registry": f"{registry.address}/acme",
                "registry_username": registry.username,
                "registry_password": registry.password,
                **settings,
            }
            here = await stack.enter_async_context(instance(folder, github, **known))
            await here.start("up")
            await here.ready()
            github.install_app(shop)
            work = await shop.clone(folder / "work", ada)
            yield World(github, registry, engine, here, ada, shop, work, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def script(text: str, **env: str) -> float:
    """The seconds that a shell script takes; it must succeed."""
    begun = time.perf_counter()
    child = await asyncio.create_subprocess_exec(
        "sh", "-euc", text, env={**os.environ, "DOCKER_BUILDKIT": "1", **env},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    if child.returncode != 0:
        raise RuntimeError(f"the script ended with {child.returncode}:\n{said.decode(errors='replace')}")
    return time.perf_counter() - begun


def docker() -> str:
    """The docker CLI whose BuildKit works here: Debian's, where the first on PATH has no buildx."""
    for cli in (shutil.which("docker") or "/usr/bin/docker", "/usr/bin/docker"):
        if subprocess.run([cli, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            return cli
    return "/usr/bin/docker"


def told(figure: str, ours: Sequence[float], theirs: Sequence[float], goal: str) -> None:
    """Print one figure: medians in seconds, and their ratio."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{figure:<42} {mine:8.2f} s {other:8.2f} s   ratio {mine / other:5.2f}   goal {goal}", flush=True)


__all__ = ["BASE_IMAGE", "ENVIRONMENT", "World", "docker", "script", "sources", "told", "world"]
