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
from config.processes import WEB, processes
from config.repository import Environment, Image, Repository
from config.services import provided
from config.settings import Settings
from workers.attempt import Attempt
from workers.build.build import build
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
    Noted,
    Order,
    Probe,
    ProcessSpec,
    Ready,
    Refusal,
    ServiceNews,
    Source,
    StopSpec,
    Succeeded,
    Switched,
)
from workers.contract.queue import Taken
from workers.contract.shells import ShellSaid
from workers.deploy import local_services, names
from workers.deploy.deploy import deploy
from workers.deploy.services import SERVICE
from workers.deploy.stop import stop
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import EngineDown
from workers.engine.limits import own_limit
from workers.output.cleaning import Cleaner
from workers.output.masking import Masker
from workers.process import process
from workers.registry.registries import Registries
from workers.source.checkout import Checkout, Commit, committed_at
from workers.tools import Tools
from workers.upkeep import janitor

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
        self.addresses: dict[str, list[str]] = {}  # by process

    async def request(self, request: Asked, timeout: float) -> Answer:  # noqa: ARG002
        if isinstance(request, Ready):
            web = {WEB: request.addresses} if request.addresses else {}
            self.addresses = {**web, **request.further}
            return Switched(url=next((f"http://{one[0]}" for one in self.addresses.values()), ""))
        if isinstance(request, ServiceNews):
            return Noted()  # it ends with this run, and nobody asks for it again
        return Known(image=None) if request.kind == "lookup" else Refusal(reason="there is no bot")

    async def tell(self, event: Event) -> None:
        """Whoever shows it was given it by the attempt."""

    async def say(self, said: ShellSaid) -> None:
        """Nobody asked for a shell."""

    async def take(self, *lines: str) -> Taken:
        raise NotImplementedError(*lines)

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

    async def serve(self, name: str, built: Mapping[str, ImageResult], tell: Tell) -> Ended:
        """Start what was built as an environment of the file, until `stopped`."""
        environment = self._config.environments[name]
        images = {image: built[image].reference for image in self._config.images_of(environment)}
        spec = deploy_spec(self._folder, name, environment, images)
        made = local_services.generated(environment.services)
        given = provided(environment.services, made)
        known = self._from_environment(environment.secrets)
        credentials = Credentials(env={**given, **known}, services=made)

        async def story(attempt: Attempt) -> None:
            for key, one in environment.services.items():
                if one.seed and one.seed.source:
                    attempt.log.line(f"{key}: stays empty: there is no backup of {one.seed.source} here")
            await deploy(attempt, spec, self._tools)

        return await self._lived(name, spec, credentials, tell, story, None)

    async def stopped(self, name: str, tell: Tell) -> None:
        """Nothing of an environment runs any more, and nothing of its services' data is left."""
        repository = _repository(self._folder)
        spec = StopSpec(
            instance=_INSTANCE,
            repository=repository,
            environment=name,
            volumes=True,
            place=_place(self._folder, name),
        )

        async def story(attempt: Attempt) -> None:
            await stop(attempt, spec, self._tools)

        await self._lived(name, spec, Credentials(), tell, story, None)

    @property
    def urls(self) -> dict[str, str]:
        """Where what is served answers, by process."""
        return {process: f"http://{one[0]}" for process, one in self._here.addresses.items()}

    async def follow(self, output: Callable[[str], None]) -> int:
        """Show what the containers print, as plain text, until one ends; its exit code."""
        labels = {"worker": self._tools.worker}
        found = await self._tools.engine.containers(labels)
        several = len(found) > 1
        served = [one for one in found if SERVICE not in one.labels]
        async with contextlib.AsyncExitStack() as stack:
            for one in found:
                whose = one.labels.get(SERVICE) or names.process(one.labels)
                said = _Said(output, f"{whose} " if several else "", one.secrets)
                stack.callback(said.end)
                await stack.enter_async_context(self._tools.engine.following(one.id, said.feed))
            while served and all(one.running for one in served):
                await asyncio.sleep(_LOOK)
                found = await self._tools.engine.containers(labels)
                served = [one for one in found if SERVICE not in one.labels]
        return next((one.exit_code for one in served if not one.running), 0)

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


class _Said:
    """What one container prints, cleaned and masked, with `whose` before each line."""

    def __init__(self, output: Callable[[str], None], whose: str, secrets: Sequence[str]) -> None:
        self._output = output
        self._masker = Masker(secrets)
        self._whose = whose
        self._cleaner = Cleaner()

    def feed(self, text: str) -> None:
        self._show(self._masker.feed(self._cleaner.feed(text.encode(errors="replace"))))

    def end(self) -> None:
        self._show(self._masker.feed(self._cleaner.end()) + self._masker.end())

    def _show(self, cleaned: bytes) -> None:
        text = cleaned.decode(errors="replace")
        self._output("".join(self._whose + line for line in text.splitlines(True)) if self._whose else text)


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


def deploy_spec(
    folder: Checkout, name: str, environment: Environment, images: Mapping[str, str]
) -> DeploySpec:
    """Pure: how what was built is started here: one container of each process, on this machine only.

    `images` are the references of all that it runs, its own first.
    """
    health, limits = environment.health, environment.limits
    main, told = next(iter(images)), {"BLACKTREE_ENVIRONMENT": name, "BLACKTREE_SHA": ""}
    return DeploySpec(
        instance=_INSTANCE,
        repository=_repository(folder),
        environment=name,
        release=f"{_INSTANCE}.{name}",
        image=images[main],
        pull=False,
        port=environment.port,
        command=environment.command,
        env={**environment.env, **told},
        limits=Limits(memory=limits.memory_bytes, cpus=limits.cpus, pids=limits.pids),
        probe=Probe(**health.model_dump()),
        labels={},
        release_command=environment.release_command,
        release_timeout=environment.release_timeout,
        user=environment.user,
        read_only=environment.read_only,
        restart="no",
        grace=environment.grace,
        services=local_services.services(_place(folder, name), environment.services),
        processes=[
            ProcessSpec.told(one.name, {**one.settings, "replicas": 1}, images[one.image], told)
            for one in processes(environment, main)
        ],
    )


def _repository(folder: Checkout) -> str:
    """What a folder's images are called: its name, and what tells it from another of that name."""
    plain = "".join(one if one.isalnum() and one.isascii() else "-" for one in folder.folder.name.lower())
    return f"run/{plain.strip('-') or 'folder'}-{_unique(folder.folder)}"


def _place(folder: Checkout, environment: str) -> str:
    """Whose services are, for as long as a run lasts."""
    return f"{_INSTANCE}.{_unique(folder.folder)}.{environment}"


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
            for volume in await engine.volumes({"worker": worker}):
                await engine.remove_volume(volume)
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
    return committed_at(ended.tail) if ended.code == 0 else 0
