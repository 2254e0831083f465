"""The same world for every figure: a GitHub stand-in, a registry, an instance, and a shell script's way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.github import GitHub, Repository, User, WorkTree
from tests.instance import Instance, instance
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry

# Deploys that are over when they have switched, so that the next figure has the machine for itself.
ENVIRONMENT = "environments: {production: {stability: 0, drain: 1, grace: 1}}\n"
_LOOK = 0.005  # seconds between two looks of whoever waits


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

    async def until_pushed(
        self, sha: str, look: Callable[[], None] = lambda: None, limit: float = 300
    ) -> None:
        """Wait until the registry has the commit's image; `look` is called at each look for it."""
        url = f"{self.registry.url}/v2/acme/shop/manifests/{sha}"
        login = (self.registry.username, self.registry.password)
        accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        async with asyncio.timeout(limit), httpx2.AsyncClient(auth=login, headers=accept) as http:
            while (await http.head(url)).status_code != 200:
                look()
                await asyncio.sleep(_LOOK)

    async def forget_cache(self) -> None:
        """No layer of any earlier build is there any more."""
        await asyncio.to_thread(self.engine.client.images.prune, {"dangling": True})
        await asyncio.to_thread(self.engine.client.api.prune_builds, all=True)


@contextlib.asynccontextmanager
async def world(files: dict[str, str], **settings: str) -> AsyncIterator[World]:
    """A repository acme/shop with `files`, and a running `blacktree up` that pushes to a registry."""
    folder = Path(tempfile.mkdtemp(prefix="blacktree-bench-"))
    try:
        with Registry.from_environment() as registry, Engine() as engine:
            engine.base_image()
            async with GitHub.running(folder / "github") as github:
                ada = github.user("ada")
                shop = await github.create_repository("acme/shop", files, collaborators={"ada": "write"})
                known = {
                    "registry": f"{registry.address}/acme",
                    "registry_username": registry.username,
                    "registry_password": registry.password,
                    **settings,
                }
                async with instance(folder, github, **known) as here:
                    await here.start("up")
                    await here.ready()
                    github.install_app(shop)
                    work = await shop.clone(folder / "work", ada)
                    try:
                        yield World(github, registry, engine, here, ada, shop, work, folder)
                    finally:
                        engine.remove("io.blacktree.repository=acme/shop")
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
    for cli in (shutil.which("docker") or "docker", "/usr/bin/docker"):
        if subprocess.run([cli, "buildx", "version"], capture_output=True, check=False).returncode == 0:
            return cli
    return "/usr/bin/docker"


def told(figure: str, ours: Sequence[float], theirs: Sequence[float], goal: str) -> None:
    """Print one figure: medians in seconds, and their ratio."""
    mine, other = statistics.median(ours), statistics.median(theirs)
    print(f"{figure:<42} {mine:8.2f} s {other:8.2f} s   ratio {mine / other:5.2f}   goal {goal}", flush=True)


__all__ = ["BASE_IMAGE", "ENVIRONMENT", "World", "docker", "script", "told", "world"]
