"""The composition root of `blacktree run`: the pipeline of a worker for a folder, without a bot."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.errors import ConfigError
from config.repository import Environment, Image, Repository
from config.settings import Settings
from workers import janitor, process
from workers.attempt import Attempt
from workers.build import build
from workers.checkout import Checkout, Commit
from workers.contract.messages import (
    Answer,
    Asked,
    AttemptRef,
    BuildSpec,
    Credentials,
    DeploySpec,
    Event,
    Failed,
    ImageResult,
    ImageTest,
    Known,
    Limits,
    Order,
    Probe,
    Ready,
    Refusal,
    Source,
    StopSpec,
    Succeeded,
    Switched,
)
from workers.contract.queue import Taken
from workers.deploy import deploy
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown
from workers.engine.limits import own_limit
from workers.registry.registries import Registries
from workers.stop import stop
from workers.tools import Tools

_ASKING = 10.0  # seconds for one question to git
_WHOLE = 2**50  # bytes of a log: whoever reads it as it comes gets all of it
_INSTANCE = "run"
_LOOK = 0.5  # seconds between two looks whether what is served still runs

Tell = Callable[[Event], Awaitable[None]]


class Folders:
    """In the place of a worker's mirrors: a folder as it lies there, uncommitted changes included.

    What is not committed has no object in git, so that the layer cache alone knows it again.
    """

    def __init__(self, folder: Checkout) -> None:
        self._folder = folder

    async def checkout(
        self,
        source: Source,  # noqa: ARG002
        credentials: Credentials,  # noqa: ARG002
        folder: Path,  # noqa: ARG002
        output: Callable[[str], None],
        needless: Callable[[Commit], Awaitable[bool]] | None = None,  # noqa: ARG002
    ) -> Checkout:
        output(f"{self._folder.folder} as it is, uncommitted changes included\n")
        return self._folder


class Here:
    """In the place of a bot: nothing was built before, and every healthy release goes live."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def request(self, request: Asked, timeout: float) -> Answer:  # noqa: ARG002
        if isinstance(request, Ready):
            self.addresses = request.addresses
            return Switched(url=f"http://{request.addresses[0]}")
        return Known(image=None) if request.kind == "lookup" else Refusal(reason="there is no bot")

    async def tell(self, event: Event) -> None:
        """Whoever shows it was given it by the attempt."""

    async def take(self, pool: str) -> Taken:
        raise NotImplementedError(pool)

    def orders(self, worker: str) -> AsyncIterator[Order]:
        raise NotImplementedError(worker)

    async def check(self) -> str:
        return "none"


@dataclass(frozen=True)
class Ended:
    """How one part of a run ended."""

    name: str
    result: Succeeded | Failed
    attempt: Attempt


class Pipeline:
    """What `blacktree run` does in one folder."""

    def __init__(
        self,
        folder: Checkout,
        config: Repository,
        tools: Tools,
        here: Here,
        work: Path,
        environ: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._config = config
        self._tools = tools
        self._here = here
        self._work = work
        self._environ = environ

    @property
    def builder(self) -> str:
        return self._tools.builder.description

    async def build(self, name: str, tell: Tell, *, fresh: bool, test: bool) -> Ended:
        """Build and test an image of the file."""
        image = self._config.images[name]
        spec = build_spec(self._folder, name, image, only=len(self._config.images) == 1, fresh=fresh)
        if not test:
            spec = spec.model_copy(update={"test": None})
        wanted = [*image.secrets, *([image.ssh] if image.ssh else [])]
        credentials = Credentials(build=self._from_environment(wanted))

        async def story(attempt: Attempt) -> ImageResult:
            return await build(attempt, spec, self._tools)

        return await self._lived(name, spec, credentials, tell, story, float(image.timeout))

    async def serve(self, name: str, image: ImageResult, tell: Tell) -> Ended:
        """Start what was built as an environment of the file, until `stopped`."""
        environment = self._config.environments[name]
        spec = deploy_spec(self._folder, name, environment, image)
        credentials = Credentials(env=self._from_environment(environment.secrets))

        async def story(attempt: Attempt) -> None:
            await deploy(attempt, spec, self._tools)

        return await self._lived(name, spec, credentials, tell, story, None)

    async def stopped(self, name: str, tell: Tell) -> None:
        """Nothing of an environment runs any more."""
        spec = StopSpec(instance=_INSTANCE, repository=_repository(self._folder), environment=name)

        async def story(attempt: Attempt) -> None:
            await stop(attempt, spec, self._tools)

        await self._lived(name, spec, Credentials(), tell, story, None)

    @property
    def url(self) -> str:
        """Where what is served answers."""
        return f"http://{self._here.addresses[0]}" if self._here.addresses else ""

    async def follow(self, output: Callable[[str], None]) -> int:
        """Show what the containers print, until they end; their exit code."""
        labels = {"worker": self._tools.worker}
        found = await self._tools.engine.containers(labels)
        async with self._tools.engine.following(found[0].id, output):
            while found and found[0].running:
                await asyncio.sleep(_LOOK)
                found = await self._tools.engine.containers(labels)
        return found[0].exit_code if found else 0

    async def _lived(
        self,
        name: str,
        spec: BuildSpec | DeploySpec | StopSpec,
        credentials: Credentials,
        tell: Tell,
        story: Callable[[Attempt], Awaitable[ImageResult | None]],
        timeout: float | None,
    ) -> Ended:
        ref = AttemptRef(job=f"{spec.kind}-{name}", attempt=1)
        attempt = Attempt(ref, spec, credentials, self._work / ref.job, tell, _WHOLE)
        async with attempt.opened():
            return Ended(name, await attempt.perform(story, timeout), attempt)

    def _from_environment(self, names: Sequence[str]) -> dict[str, str]:
        """Secrets are variables of whoever runs it: there is no bot that knows them."""
        return {name: self._environ[name] for name in names if self._environ.get(name)}


def build_spec(folder: Checkout, name: str, image: Image, *, only: bool, fresh: bool) -> BuildSpec:
    """Pure: how an image of a folder is built."""
    return BuildSpec(
        source=Source(repository=_repository(folder), clone_url="", sha="latest"),
        image=name,
        context=image.context,
        dockerfile=image.dockerfile,
        target=image.target,
        args=image.args,
        platforms=image.platforms,
        secrets=image.secrets,
        ssh=image.ssh,
        test=image.test and ImageTest(**image.test.model_dump()),
        memory=image.limits.memory_bytes,
        cpus=image.limits.cpus,
        reference="/".join([_repository(folder), *([] if only else [name])]),
        tags=[],
        push=False,
        cache=False,
        pull=image.pull,
        fresh=fresh,
        timeout=float(image.timeout),
        labels={},
    )


def deploy_spec(folder: Checkout, name: str, environment: Environment, image: ImageResult) -> DeploySpec:
    """Pure: how what was built is started here: one container, on this machine only."""
    health, limits = environment.health, environment.limits
    return DeploySpec(
        instance=_INSTANCE,
        repository=_repository(folder),
        environment=name,
        release=f"{_INSTANCE}.{name}",
        image=image.reference,
        pull=False,
        port=environment.port,
        command=environment.command,
        env={**environment.env, "BLACKTREE_ENVIRONMENT": name, "BLACKTREE_SHA": ""},
        limits=Limits(memory=limits.memory_bytes, cpus=limits.cpus, pids=limits.pids),
        probe=Probe(**health.model_dump()),
        labels={},
        release_command=environment.release_command,
        release_timeout=environment.release_timeout,
        user=environment.user,
        read_only=environment.read_only,
        restart="no",
        grace=environment.grace,
    )


def _repository(folder: Checkout) -> str:
    """What a folder's images are called: its name, and what tells it from another of that name."""
    plain = "".join(one if one.isalnum() and one.isascii() else "-" for one in folder.folder.name.lower())
    return f"run/{plain.strip('-') or 'folder'}-{_unique(folder.folder)}"


def _unique(folder: Path) -> str:
    return hashlib.sha256(str(folder).encode()).hexdigest()[:6]


@contextlib.asynccontextmanager
async def pipeline(
    path: Path, config: Repository, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Pipeline]:
    """The pipeline of the folder `path`; nothing of it stays but images. Raises ConfigError."""
    whole = await asyncio.to_thread(path.resolve)
    folder = Checkout(whole, tree="", committed_at=await _committed_at(path, environ))
    worker = f"run-{_unique(folder.folder)}"
    place = Path(environ.get("XDG_CACHE_HOME") or Path(environ.get("HOME", "/tmp")) / ".cache")  # noqa: S108
    settings = Settings(data_dir=place / "blacktree" / worker, worker_name=worker)
    with janitor.alone(worker, settings.data_dir):
        here = Here()
        with contextlib.closing(DockerEngine(environ)) as engine:
            tools = await _tools(settings, engine, Folders(folder), here, environ)
            await janitor.sweep(worker, settings.data_dir, tools.engine, environ)
            for left in await engine.containers({"worker": worker}):  # of one that was killed
                await engine.remove(left.id, 0)
            work = janitor.work_folder(settings.data_dir)
            yield Pipeline(folder, config, tools, here, work, environ)


async def _tools(
    settings: Settings, engine: DockerEngine, sources: Folders, here: Here, environ: Mapping[str, str]
) -> Tools:
    try:
        await engine.about()
    except EngineDown as error:
        raise ConfigError(f"{error}: start Docker, or set DOCKER_HOST to where it is") from None
    prefix = janitor.config_prefix(settings.worker, settings.data_dir)
    return Tools(
        worker=settings.worker,
        address=settings.worker_address,
        engine=engine,
        builder=await find_builder(environ, prefix, own_limit(settings)),
        queue=here,
        environ=environ,
        mirrors=sources,
        registries=Registries(settings),
        build_limit=own_limit(settings),
    )


async def _committed_at(path: Path, environ: Mapping[str, str]) -> int:
    """When its last commit was made; the epoch's start where git knows of none."""
    argv = ["git", "-C", str(path), "log", "-1", "--format=%ct"]
    env = {"PATH": environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": environ.get("HOME", "/")}
    try:
        ended = await process.run(argv, env=env, timeout=_ASKING)
    except (FileNotFoundError, TimeoutError):
        return 0
    return int(ended.tail) if ended.code == 0 and ended.tail.strip().isdigit() else 0
