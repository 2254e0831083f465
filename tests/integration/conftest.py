"""A developer, a repository on the stand-in, and a Blacktree with real parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from config.trust import trusted
from tests.github import GitHub, Repository, User, WorkTree
from tests.instance import PATIENCE, Instance, instance
from tests.parts.dockerd import Dockerd, here
from tests.parts.engine import BASE_IMAGE, Engine

PAGE = "www/index.html"


def dockerfile(*steps: str) -> str:
    """A small web server that serves the folder www on port 8080."""
    lines = [f"FROM {BASE_IMAGE}", *steps, "COPY www /www", "EXPOSE 8080"]
    return "\n".join([*lines, 'CMD ["httpd", "-f", "-p", "8080", "-h", "/www"]', ""])


@dataclass
class Developer:
    """Somebody with write access, a working copy and a browser."""

    github: GitHub
    user: User
    repository: Repository
    work: WorkTree

    async def push(self, files: dict[str, str | None], branch: str = "main", message: str = "Change") -> str:
        """Commit and push; returns the SHA."""
        sha = await self.work.commit(files, message=message)
        await self.work.push(branch=branch)
        return sha

    async def open_pull(self, files: dict[str, str | None], branch: str = "feature") -> tuple[int, str]:
        """A pull request with one commit; returns its number and head."""
        await self.work.checkout(branch, create=True)
        sha = await self.push(files, branch)
        return await self.github.open_pull(self.repository, self.user, head=branch), sha

    def state(self, sha: str, context: str) -> str | None:
        status = self.github.latest_statuses(self.repository, sha).get(context)
        return status.state if status else None

    async def status(self, sha: str, context: str, state: str, limit: float = PATIENCE) -> str:
        """Wait for a status; returns its description."""
        await self.github.until(lambda: self.state(sha, context) == state, timeout=limit)
        return self.github.latest_statuses(self.repository, sha)[context].description or ""


async def visit(url: str, path: str = "/") -> str:
    """What a browser gets."""
    async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
        return (await http.get(url + path)).text


@pytest.fixture(scope="module", autouse=True)
def engine(own_dockerd: Dockerd) -> Iterator[Engine]:
    """This process's own: these tests count what runs there, and all name the same repository."""
    with here(own_dockerd) as part:
        yield part


@pytest.fixture
def clean_engine(engine: Engine) -> Iterator[Engine]:
    """The engine with the base image; what the test's workers left is a failure, and removed."""
    engine.base_image()
    yield engine
    engine.remove("io.blacktree.repository=acme/shop")
    for name in ("up", "one", "two"):
        engine.remove(f"io.blacktree.worker={name}")


@pytest.fixture
async def developer(github: GitHub, tmp_path: Path, clean_engine: Engine) -> Developer:  # noqa: ARG001
    ada = github.user("ada")
    shop = await github.create_repository(
        "acme/shop", {"Dockerfile": dockerfile(), PAGE: "first"}, collaborators={"ada": "write"}
    )
    github.install_app(shop)
    return Developer(github, ada, shop, await shop.clone(tmp_path / "work", ada))


@pytest.fixture
async def blacktree(github: GitHub, tmp_path: Path) -> AsyncIterator[Instance]:
    """An instance on the embedded defaults, with no process yet."""
    async with instance(tmp_path, github) as here:
        yield here
