"""Each provider over its real thing, with something that stands in for the worker."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pytest

from bot.fleet.scaling.containers import FOLDER, LABELS, Containers
from bot.fleet.scaling.ec2 import Group
from bot.fleet.scaling.processes import Processes
from bot.fleet.scaling.provider import Found, Listed, Newcomer, Provider
from config.pools import Pool
from config.settings import Settings
from tests.parts.aws import REGION, Aws, some_account
from tests.parts.engine import Engine

CONTAINERS = pytest.param("containers", marks=pytest.mark.engine)


class Site(Protocol):
    """What a provider works on, seen from the other side."""

    def provider(self) -> Provider:
        """One that knows nothing of what others did."""

    def foreign(self) -> Provider:
        """That of another pool, or of another instance of Blacktree, on the same thing."""

    def told(self, worker: str) -> str:
        """The settings that a worker there reads; empty while there are none."""

    def quit(self, worker: str) -> None:
        """The worker ends by itself, with `done` as its last words."""


def newcomer(name: str, provider: Provider) -> Newcomer:
    async def settings(own: Mapping[str, str]) -> str:
        return f"whose = {name!r}\nown = {sorted(own)}\n"

    return Newcomer(name, provider.places[0], settings)


async def until(provider: Provider, look: Callable[[Found], bool]) -> Found:
    """What is listed once it looks so."""
    async with asyncio.timeout(120):
        while not look(found := await provider.list()):  # noqa: ASYNC110 (other processes)
            await asyncio.sleep(0.1)
    return found


async def brought(provider: Provider, *names: str) -> dict[str, Listed]:
    """Their machines, told again until they are listed, as the scaler does."""
    async with asyncio.timeout(120):
        while missing := set(names) - {one.worker for one in (await provider.list()).machines}:
            await provider.bring([newcomer(name, provider) for name in sorted(missing)])
        # A process tells its number itself, once it runs.
        await until(provider, lambda found: all(one.id != "0" for one in found.machines))
    return {one.worker: one for one in (await provider.list()).machines}


@dataclass
class OfProcesses:
    folder: Path
    made: list[Processes] = field(default_factory=list)

    def provider(self, pool: str = "builders") -> Provider:
        script = 'while ! [ -e "$(dirname "$BLACKTREE_CONFIG")/quit" ]; do sleep 0.1; done; echo done; exit 3'
        one = Processes(self.folder / pool, "here", os.environ, ["/bin/sh", "-c", script])
        self.made.append(one)
        return one

    def foreign(self) -> Provider:
        return self.provider("others")

    def told(self, worker: str) -> str:
        file = self.folder / "builders" / worker / "worker.toml"
        return file.read_text() if file.exists() else ""

    def quit(self, worker: str) -> None:
        (self.folder / "builders" / worker / "quit").touch()

    def close(self) -> None:
        for child in (child for one in self.made for child in one._children):
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # it leads a session of its own
            child.wait()


@dataclass
class OfContainers:
    engine: Engine
    image: str
    host: str
    instance: str = field(default_factory=lambda: uuid4().hex)
    made: list[str] = field(default_factory=list)

    def provider(self, instance: str = "") -> Provider:
        pool = Pool(name="builders", kind="containers", max=9, image=self.image)
        self.made.append(instance or self.instance)
        return Containers(pool, self.made[-1], [self.host])

    def foreign(self) -> Provider:
        return self.provider(uuid4().hex)

    def told(self, worker: str) -> str:
        code, said = self._of(worker).exec_run(["cat", f"{FOLDER}/worker.toml"])
        return str(said.decode()) if code == 0 else ""

    def quit(self, worker: str) -> None:
        self._of(worker).exec_run(["touch", "/quit"])

    def _of(self, worker: str) -> Any:
        labels = [f"{LABELS}instance={self.instance}", f"{LABELS}worker={worker}"]
        return self.engine.client.containers.list(filters={"label": labels})[0]

    def close(self) -> None:
        for instance in self.made:
            self.engine.remove(f"{LABELS}instance={instance}")


@dataclass
class OfGroups:
    aws: Aws
    name: str = field(default_factory=lambda: f"group-{uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.asg, self.ec2, self.ssm = (self.aws.client(one) for one in ("autoscaling", "ec2", "ssm"))
        self.made(self.name)

    def made(self, name: str) -> None:
        self.asg.create_launch_configuration(
            LaunchConfigurationName=name,
            ImageId=self.ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
            InstanceType="t3.small",
        )
        self.asg.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchConfigurationName=name,
            MinSize=0,
            MaxSize=9,
            DesiredCapacity=0,
            AvailabilityZones=[f"{REGION}a"],
        )

    def hook(self) -> None:
        """From now on instances that terminate are held."""
        self.asg.put_lifecycle_hook(
            LifecycleHookName="drained",
            AutoScalingGroupName=self.name,
            LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
            HeartbeatTimeout=60,
        )

    def group(self) -> dict[str, Any]:
        """As AWS describes it."""
        found = self.asg.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        return dict(found["AutoScalingGroups"][0])

    def provider(self, name: str = "") -> Provider:
        pool = Pool(name="builders", kind="ec2", max=9, group=name or self.name, region=REGION)
        return Group(pool, Settings(aws_access_key_id="test", aws_secret_access_key="test"))

    def foreign(self) -> Provider:
        other = f"{self.name}-other"
        self.made(other)
        return self.provider(other)

    def told(self, worker: str) -> str:
        (instance,) = (one["InstanceId"] for one in self.group()["Instances"] if self.tags(one)[0] == worker)
        known = self.ssm.get_parameters(Names=[f"/blacktree/workers/{instance}"], WithDecryption=True)
        return str(known["Parameters"][0]["Value"]) if known["Parameters"] else ""

    def tags(self, instance: Mapping[str, Any]) -> tuple[str, str]:
        """Whose instance it is, and how often its termination was put off."""
        wanted = [{"Name": "resource-id", "Values": [instance["InstanceId"]]}]
        found = {tag["Key"]: tag["Value"] for tag in self.ec2.describe_tags(Filters=wanted)["Tags"]}
        return found.get("io.blacktree.worker", ""), found.get("heartbeats", "")

    def quit(self, worker: str) -> None:
        raise NotImplementedError(worker)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with Aws(some_account()) as part:
        yield part


@pytest.fixture
def groups(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> OfGroups:
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
    return OfGroups(aws)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[OfProcesses]:
    site = OfProcesses(tmp_path / "pools")
    yield site
    site.close()


@pytest.fixture
def containers(engine: Engine) -> Iterator[OfContainers]:
    tag = f"blacktree-test/scaled:{uuid4().hex[:8]}"
    script = "while ! [ -e /quit ]; do sleep 0.1; done; echo done; exit 3"
    base = engine.client.containers.create(engine.base_image(), ["sh", "-c", script])
    repository, _, name = tag.partition(":")
    base.commit(repository, name)
    base.remove()
    site = OfContainers(engine, tag, os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock")
    yield site
    site.close()
    engine.client.images.remove(tag)


@pytest.fixture(params=["processes", CONTAINERS, "groups"])
def site(request: pytest.FixtureRequest) -> Any:
    """Each of them."""
    return request.getfixturevalue(request.param)
