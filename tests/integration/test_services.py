"""A pull request's preview with a database of its own: made, left alone, and gone with it."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.instance import Instance, instance
from tests.integration.conftest import Developer, visit
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry
from tests.workers.deploy.storeroom import Storeroom

DEPLOY = "blacktree/deploy (preview)"
DOCKERFILE = f"""FROM {BASE_IMAGE}
COPY page serve.sh /
EXPOSE 8080
CMD ["sh", "/serve.sh"]
"""
# Shows what it finds in its database, and its own page.
SERVE = r"""
mkdir /www
{
  for what in first password; do
    printf 'GET /%s HTTP/1.0\r\n\r\n' $what | nc -w 20 db 6000 | tail -1
  done
  echo $PASSWORD
  cat /page
} > /www/index.html
exec httpd -f -p 8080 -h /www
"""


def file(image: str, **more: str) -> str:
    db = {
        "image": image,
        "volumes": {"data": "/data"},
        "generate": ["PASSWORD"],
        "provides": {"PASSWORD": "{PASSWORD}"},
        "seed": ["sh", "-c", "echo sown with $PASSWORD"],
    }
    return json.dumps({"environments": {"preview": {"stability": 0, **more, "services": {"db": db}}}})


@pytest.fixture
def addresses() -> Iterator[str]:
    """Addresses whose containers reach each other: an engine of a test's own makes no rules, and whatever the
    machine's engine does not know is dropped by that one's."""
    network = f"10.206.{random.randrange(0, 256, 16)}.0/20"
    rule = ["FORWARD", "-s", network, "-d", network, "-j", "ACCEPT"]
    subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    yield network
    subprocess.run(["iptables", "-w", "-D", *rule], check=True)


@pytest.fixture
def logins(registry: Registry) -> str:
    login = {"username": registry.username, "password": registry.password}
    return json.dumps({"auths": {registry.address: login}})


@pytest.fixture
def image(clean_engine: Engine, registry: Registry) -> str:
    return Storeroom(clean_engine, registry, BASE_IMAGE, {}).image("tools/db:1")


@pytest.fixture
async def blacktree(
    developer: Developer, tmp_path: Path, logins: str, addresses: str
) -> AsyncIterator[Instance]:
    settings = {"registry_auths": logins, "network_range": addresses}
    async with instance(tmp_path, developer.github, **settings) as here:
        await here.start("up")
        await here.ready()
        yield here


async def previewed(developer: Developer, configuration: str, page: str) -> tuple[int, str]:
    """A pull request whose preview is live: its number, and where."""
    files: dict[str, str | None] = {
        ".blacktree.yml": configuration,
        "Dockerfile": DOCKERFILE,
        "serve.sh": SERVE,
        "page": page,
    }
    number, head = await developer.open_pull(files)
    return number, (await developer.status(head, DEPLOY, "success")).removeprefix("Live at ")


async def test_a_preview_has_its_own_service_that_redeploys_leave_alone_and_its_end_takes_along(
    developer: Developer, blacktree: Instance, clean_engine: Engine, image: str
) -> None:
    number, url = await previewed(developer, file(image), "one")
    first, password, provided, page = (await visit(url)).split()
    assert (len(password), provided, page) == (48, password, "one")
    [before] = clean_engine.containers("io.blacktree.service=db")
    job = await blacktree.job("deploy", "succeeded")
    log = await blacktree.text(f"/jobs/{job['id']}/log")
    assert "sown with ***" in log
    assert password not in log

    [place] = await blacktree.api("/environments")
    [told] = place["services"]
    assert (told["name"], told["image"], told["worker"], told["running"]) == ("db", image, "up", True)
    assert told["pinned"].startswith(f"{image.removesuffix(':1')}@sha256:")

    second = await developer.push({"page": "two"}, "feature")
    await developer.status(second, DEPLOY, "success")

    assert (await visit(url)).split() == [first, password, password, "two"]
    [after] = clean_engine.containers("io.blacktree.service=db")
    assert (after.id, after.attrs["State"]["StartedAt"]) == (
        before.id,
        before.attrs["State"]["StartedAt"],
    )

    await developer.github.close_pull(developer.repository, number, developer.user)

    async def gone() -> bool:
        label = "io.blacktree.worker=up"
        return not any(
            [clean_engine.containers(label), clean_engine.volumes(label), clean_engine.networks(label)]
        )

    await blacktree.until(gone, "the preview and its service to be gone")

    async def forgotten() -> bool:
        return not (await blacktree.api("/environments"))[0]["services"]

    await blacktree.until(forgotten, "what was kept of its service to be gone")


async def test_who_wakes_a_preview_finds_its_service_with_what_it_had(
    developer: Developer, blacktree: Instance, clean_engine: Engine, image: str
) -> None:
    _, url = await previewed(developer, file(image, sleep="12s"), "mine")
    shown = (await visit(url)).split()
    [before] = clean_engine.containers("io.blacktree.service=db")

    async def asleep() -> bool:
        [service] = clean_engine.containers("io.blacktree.service=db")
        return len(clean_engine.containers("io.blacktree.worker=up")) == 1 and service.status == "exited"

    await blacktree.until(asleep, "the preview and its service to sleep")

    async def awake() -> bool:
        return (await visit(url)).split() == shown

    await blacktree.until(awake, "the preview to be awake, with what its service had")
    [after] = clean_engine.containers("io.blacktree.service=db")
    assert (after.id, after.status) == (before.id, "running")
