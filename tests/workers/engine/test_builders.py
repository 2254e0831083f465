"""The three ways of building do the same, or say why they cannot."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.parts.dockerd import Dockerd
from tests.parts.engine import BASE_IMAGE, Engine
from tests.parts.registry import Registry
from tests.workers.build.workshop import Workshop
from tests.workers.process.test_process import alive
from workers.contract.failure import Failure
from workers.contract.messages import Fault, RegistryLogin
from workers.engine.arguments import Kind
from workers.engine.buildkit import find_builder
from workers.engine.cgroups import tree

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

_MACHINE = Path(__file__).parents[2] / "machine"
_GROUP = f"blacktree-test-{os.getpid()}"  # in which the tests' own engine runs what it runs
_MIB = 2**20

KINDS = [Kind.BUILDX, Kind.OWN, Kind.CLASSIC]
BUILDKITS = [Kind.BUILDX, Kind.OWN]
_TLS = b"\x16"  # how a client begins that tries it first
Opened = Callable[[Kind], "contextlib.AbstractAsyncContextManager[Workshop]"]


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker configuration with buildx."""
    found = subprocess.run([_MACHINE / "buildx"], check=True, capture_output=True, text=True, timeout=300)
    folder = tmp_path_factory.mktemp("docker")
    (folder / "cli-plugins").mkdir()
    (folder / "cli-plugins" / "docker-buildx").symlink_to(found.stdout.strip())
    return folder


@pytest.fixture(scope="module")
def dockerd() -> Iterator[Dockerd]:
    """An engine of the tests' own, which may be killed, and whose builds may be limited."""
    with Dockerd("2g", "--cgroup-parent", f"/{_GROUP}") as part:
        yield part
    for version in (1, 2):
        groups = tree(version)
        assert groups is None or groups.remove(_GROUP)


@pytest.fixture
def opened(engine: Engine, base: str, plugins: Path, tmp_path: Path) -> Opened:  # noqa: ARG001
    """Opens a workshop with a builder of that kind, on the machine's engine."""
    return lambda kind: _workshop(kind, dict(os.environ), engine.client, plugins, tmp_path / kind.name)


@pytest.fixture
def opened_apart(dockerd: Dockerd, plugins: Path, tmp_path: Path) -> Opened:
    """The same on the engine of the tests' own."""
    return lambda kind: _workshop(
        kind, dockerd.environ, dockerd.client, plugins, tmp_path / f"apart-{kind.name}"
    )


@contextlib.asynccontextmanager
async def _workshop(
    kind: Kind, environ: dict[str, str], client: docker.DockerClient, plugins: Path, folder: Path
) -> AsyncIterator[Workshop]:
    prefix = f"blacktree-test-{secrets.token_hex(4)}-"
    builder = await find_builder(
        {**environ, "DOCKER_CONFIG": str(plugins)}, prefix, kinds=[kind], shared=f"{_GROUP}/buildkit"
    )
    workshop = Workshop(builder, folder, prefix, client)
    try:
        yield workshop
        assert workshop.left() == []
    finally:
        workshop.close()


# The first stage's ENV and the last stage's LABEL make no layer.
_STAGES = f"""\
FROM {BASE_IMAGE} AS one
ARG WHO
ENV A=b
RUN echo hello $WHO >/hello
WORKDIR /src
COPY . .
FROM one AS two
LABEL x=y
RUN cat /hello
FROM two AS three
RUN exit 9
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "newer", ["COPY --link . /x", "HEALTHCHECK --start-interval=5s CMD true", "RUN <<EOF\ntrue\nEOF"]
)
async def test_what_a_builder_is_too_old_for_is_built_or_said_with_what_to_install(
    opened: Opened, kind: Kind, newer: str
) -> None:
    told = None
    async with opened(kind) as workshop:
        try:
            await workshop.build(f"FROM {BASE_IMAGE}\n{newer}\n")
        except Failure as failure:
            told = failure
        assert (workshop.image() is None) == (told is not None)
        if told is not None:
            assert told.reason == "builder_too_old", told.sentence
            assert f"this worker's builder is older ({workshop.builder.description})" in told.sentence
            assert "install Docker 2" in told.sentence


@pytest.mark.parametrize("kind", KINDS)
async def test_a_build_tells_what_it_made_and_what_it_took_from_its_cache(opened: Opened, kind: Kind) -> None:
    async with opened(kind) as workshop:
        who = secrets.token_hex(4)
        more: dict[str, Any] = {"target": "two", "args": {"WHO": who}, "labels": {"a.b": "c d"}}
        first = await workshop.build(_STAGES, epoch=1_700_000_000, **more)
        assert (first.layers, first.cached, first.digest) == (4, 0, None)
        assert f"hello {who}" in workshop.said
        assert workshop.said.startswith(f"building with {workshop.builder.description}; limits: ")
        image = workshop.image()
        assert image is not None
        assert (image.labels["a.b"], image.labels["x"]) == ("c d", "y")

        again = await workshop.build(_STAGES, epoch=1_800_000_000, **more)
        assert (again.layers, again.cached) == (4, 4), workshop.said
        assert "\n4 of 4 layers from cache\n" in workshop.said
        assert "   cached  [" in workshop.said


@pytest.mark.parametrize("kind", KINDS)
async def test_fresh_takes_nothing_from_the_cache_and_pull_asks_for_base_images_anew(
    opened: Opened, kind: Kind, registry: Registry, engine: Engine
) -> None:
    login = _login(registry)
    name = f"{registry.address}/base{secrets.token_hex(4)}"
    async with opened(kind) as workshop:
        engine.client.api.tag(BASE_IMAGE, name, "1")
        file = f"FROM {name}:1\nRUN echo {workshop.prefix}\n"
        try:
            await workshop.builder.push(f"{name}:1", [login], workshop.log.append)
            assert (await workshop.build(file, [login])).cached == 0
            assert (await workshop.build(file, [login], fresh=True)).cached == 0
            repository = name.partition("/")[2]
            registry.get(f"/v2/{repository}/manifests/{registry.digest(repository, '1')}", "DELETE")
            assert (await workshop.build(file, [login])).cached == 1
            with pytest.raises(Failure, match="cannot be pulled"):
                await workshop.build(file, [login], pull=True)
        finally:
            engine.client.api.remove_image(f"{name}:1")


@pytest.mark.parametrize("kind", BUILDKITS)
async def test_secrets_reach_the_step_that_asks_and_nothing_else(opened: Opened, kind: Kind) -> None:
    async with opened(kind) as workshop:
        marker = str(secrets.randbelow(10**9) + 10**9)
        secret = f"first {secrets.token_hex(8)}\nsecond, 'quoted' = {secrets.token_hex(8)}"
        key = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        file = (
            f"FROM {BASE_IMAGE}\n"
            "RUN --mount=type=secret,id=TOKEN --mount=type=ssh sha256sum /run/secrets/TOKEN;"
            f" [ -S $SSH_AUTH_SOCK ] && echo agent; sleep 9{marker}\n"
            "RUN ls /run/secrets; env; echo end\n"
        )
        building = asyncio.create_task(
            workshop.build(file, secrets={"TOKEN": secret}, ssh_key=key.decode().strip())
        )
        await _until(lambda: alive(f"sleep 9{marker}") or building.done())
        private = [secret.split()[1], key.decode().splitlines()[1]]
        assert not [word for word in private if word in _of_processes()]
        await _until(lambda: "agent\n" in workshop.said or building.done())
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        assert hashlib.sha256(secret.encode()).hexdigest() in workshop.said
        assert "agent\n" in workshop.said

        with pytest.raises(Failure, match=r"TOKEN.*name it under `secrets`") as failed:
            await workshop.build(
                f"FROM {BASE_IMAGE}\nRUN --mount=type=secret,id=TOKEN,required echo {marker}\n"
            )
        assert failed.value.fault is Fault.USER


async def test_the_classic_builder_says_what_it_lacks(opened: Opened) -> None:
    async with opened(Kind.CLASSIC) as workshop:
        for more in ({"secrets": {"A": "b"}}, {"ssh_key": "k"}):
            with pytest.raises(Failure, match=r"needs BuildKit.*install docker buildx") as failed:
                await workshop.build("FROM scratch\n", **more)
            assert failed.value.fault is Fault.FINAL


@pytest.mark.parametrize("kind", KINDS)
async def test_one_platform_is_built_and_several_need_more(opened: Opened, kind: Kind) -> None:
    async with opened(kind) as workshop:
        file = "FROM scratch\nCOPY Dockerfile /\n"
        await workshop.build(file, platforms=["linux/arm64"])
        image = workshop.image()
        assert image is not None
        assert image.attrs["Architecture"] == "arm64"
        with pytest.raises(Failure, match="linux/amd64 and linux/arm64 needs docker buildx with") as failed:
            await workshop.build(file, platforms=["linux/amd64", "linux/arm64"], push_to="x:1")
        assert failed.value.fault is Fault.FINAL


@pytest.mark.parametrize("kind", BUILDKITS)
async def test_what_one_domain_keeps_in_a_cache_mount_is_not_anothers(opened: Opened, kind: Kind) -> None:
    async with opened(kind) as workshop:
        run = "RUN --mount=type=cache,target=/cache"
        mark = secrets.token_hex(8)
        await workshop.build(f"FROM {BASE_IMAGE}\n{run} echo {mark} >/cache/mark\n", trust="one")
        see = f"FROM {BASE_IMAGE}\nARG BY\n{run} cat /cache/mark; echo seen by $BY\n"
        await workshop.build(see, trust="one", args={"BY": f"a-{workshop.prefix}"})
        assert f" {mark}\n" in workshop.said
        theirs = {"BY": f"b-{workshop.prefix}", "BUILDKIT_CACHE_MOUNT_NS": _mounts("one")}
        await workshop.build(see, trust="two", args=theirs)
        assert mark not in workshop.said
        assert f"seen by b-{workshop.prefix}" in workshop.said
        for place in (f"{_mounts('one')}//cache", f"../{_mounts('one')}//cache"):
            named = f"RUN --mount=type=cache,id={place},target=/cache cat /cache/mark; echo {place}\n"
            await workshop.build(f"FROM {BASE_IMAGE}\n{named}", trust="two")
            assert mark not in workshop.said


def _mounts(trust: str) -> str:
    """The namespace of the cache mounts of one trust's builds, which a stranger would have to know."""
    return hashlib.sha256(f"mounts {trust}".encode()).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
async def test_no_layer_of_one_domain_comes_from_the_cache_to_another(opened: Opened, kind: Kind) -> None:
    async with opened(kind) as workshop:
        file = f"FROM {BASE_IMAGE} AS one\nRUN echo {workshop.prefix} >/x\nFROM one\nRUN cat /x\n"
        mine: dict[str, Any] = {"trust": "mine", "kin": [workshop.tag]}
        assert (await workshop.build(file, **mine)).cached == 0
        assert (await workshop.build(file, **mine)).cached == 2, workshop.said
        theirs = f"{workshop.tag}-theirs"
        assert (await workshop.build(file, trust="theirs", tag=theirs)).cached == 0, workshop.said
        assert (await workshop.build(file, **mine)).cached == 2, "each keeps its own"


@pytest.mark.parametrize("kind", BUILDKITS)
async def test_what_a_secret_made_comes_to_nobody_who_repeats_the_dockerfile(
    opened: Opened, kind: Kind
) -> None:
    async with opened(kind) as workshop:
        secret = secrets.token_hex(8)
        copy = f"cp /run/secrets/T /made || : {workshop.prefix}"
        made = f"FROM {BASE_IMAGE}\nRUN --mount=type=secret,id=T {copy}\n"
        await workshop.build(made, trust="mine", secrets={"T": secret})
        see = f"{made}RUN cat /made; echo looked\n"
        await workshop.build(see, trust="mine")
        assert secret in workshop.said, "the layer is the one that the secret made"
        await workshop.build(see, trust="theirs")
        assert "looked" in workshop.said
        assert secret not in workshop.said
        for told in (workshop.image(), *_all_images(workshop)):
            assert told is not None
            assert secret not in f"{told.attrs} {told.history()}"


def _all_images(workshop: Workshop) -> list[Any]:
    return workshop.client.images.list(f"{workshop.prefix}image")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_proxy_of_a_build_is_the_instances_whatever_its_arguments_say(
    opened: Opened, kind: Kind
) -> None:
    async with opened(kind) as workshop:
        file = f"FROM {BASE_IMAGE}\nRUN echo proxy is $http_proxy, $HTTPS_PROXY.; : {workshop.prefix}\n"
        ours = {"http_proxy": "http://ada:pw@proxy.example:3128"}
        evil = {"http_proxy": "http://evil.example", "HTTPS_PROXY": "http://evil.example"}
        await workshop.build(file, args=evil, proxies=ours)
        assert "proxy is http://ada:pw@proxy.example:3128, ." in workshop.said
        image = workshop.image()
        assert image is not None
        assert "pw@" not in f"{image.attrs} {image.history()}"


@pytest.mark.parametrize("kind", BUILDKITS)
async def test_another_engine_takes_its_layers_from_the_registry(
    opened: Opened, opened_apart: Opened, kind: Kind, registry: Registry
) -> None:
    login = _login(registry)
    name = f"{registry.address}/cache{secrets.token_hex(4)}"
    file = f"FROM {BASE_IMAGE}\nRUN echo {name} >/made\nCOPY Dockerfile /\n"
    async with opened(kind) as workshop:
        workshop.tag = f"{name}:one"
        # A cache that is not there yet is no matter.
        built = await workshop.build(file, [login], keep_cache=True, cache=[f"{name}:none"])
        assert (built.layers, built.cached) == (2, 0)
        await workshop.builder.push(workshop.tag, [login], workshop.log.append)
        workshop.client.images.remove(workshop.tag)
    async with opened_apart(kind) as workshop:
        assert (await workshop.build(file, [login])).cached == 0
        workshop.client.images.remove(workshop.tag)
        workshop.client.api.prune_builds()
        built = await workshop.build(file, [login], cache=[f"{name}:none", f"{name}:one"])
        assert (built.layers, built.cached) == (2, 2), workshop.said
        with pytest.raises(Failure, match=r"step \[3/3\] RUN exit 7: exit code 7"):
            await workshop.build(
                f"FROM {BASE_IMAGE}\nRUN true\nRUN exit 7\n", [login], cache=[f"{name}:none"]
            )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_build_that_takes_too_much_memory_is_ended_and_says_so(
    opened_apart: Opened, kind: Kind
) -> None:
    async with opened_apart(kind) as workshop:
        # The shell of the step lives on, and ends as make would: with a code that tells nothing.
        file = f"FROM {BASE_IMAGE}\nRUN echo {workshop.prefix}; tail /dev/zero || exit 2\n"
        with pytest.raises(Failure) as failed:
            await workshop.build(file, memory=48 * _MIB, cpus=0.5)
        assert failed.value.sentence.endswith("exit code 2 (out of memory: raise limits.memory)")
        assert failed.value.fault is Fault.USER
        with pytest.raises(Failure, match=r"exit code 3$"):
            await workshop.build(f"FROM {BASE_IMAGE}\nRUN exit 3\n", memory=48 * _MIB)


async def test_builds_that_are_cancelled_while_they_pull_leave_nothing(opened: Opened) -> None:
    async with _deaf_registry() as (host, asked):
        orders = {kind: {"dockerfile": f"FROM {host}/{kind.name.lower()}/y:1\nRUN true\n"} for kind in KINDS}
        async with _cancelled(opened, orders):
            await _until(lambda: len(asked) == len(KINDS))


async def test_builds_that_are_cancelled_while_a_step_runs_leave_nothing(opened: Opened) -> None:
    marker = f"9{secrets.randbelow(10**9) + 10**9}"
    orders: dict[Kind, dict[str, Any]] = {
        # The first step has become an image of the classic builder's by then.
        kind: {"dockerfile": f"FROM {BASE_IMAGE}\nRUN echo {marker} >/x\nRUN sleep {marker}{number}\n"}
        for number, kind in enumerate(KINDS)
    }
    for kind in BUILDKITS:
        orders[kind] |= {"secrets": {"A": "b"}}
    async with _cancelled(opened, orders):
        await _until(lambda: len(_numbers(f"sleep {marker}")) == len(KINDS))
    await _until(lambda: not _numbers(f"sleep {marker}"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_build_that_is_cancelled_while_the_engine_makes_its_image_leaves_nothing(
    opened: Opened, kind: Kind
) -> None:
    # So much that the engine is at it for two seconds or so, which nothing can hurry.
    order = {"dockerfile": f"FROM {BASE_IMAGE}\nRUN truncate -s 500M /{secrets.token_hex(8)}\n"}
    async with _cancelled(opened, {kind: order}) as (workshop,):
        await _until(lambda: _is_making_its_image(workshop))


async def test_an_engine_that_is_killed_during_a_build_is_ours_to_try_again(
    opened_apart: Opened, dockerd: Dockerd
) -> None:
    for failure in await _failures(KINDS, opened_apart, dockerd.kill, dockerd):
        assert (failure.fault, failure.reason) == (Fault.OURS, "engine_gone")


async def test_the_steps_that_a_stopping_engine_kills_are_not_the_users_fault(
    opened_apart: Opened, dockerd: Dockerd
) -> None:
    (failure,) = await _failures([Kind.CLASSIC], opened_apart, dockerd.stop, dockerd)
    assert (failure.fault, failure.reason) == (Fault.OURS, "engine_gone")


async def _failures(
    kinds: Sequence[Kind], opened_apart: Opened, end: Callable[[], None], dockerd: Dockerd
) -> list[Failure]:
    """How builds fail that run when the engine ends."""
    marker = f"9{secrets.randbelow(10**9) + 10**9}"
    async with contextlib.AsyncExitStack() as stack:
        workshops = [await stack.enter_async_context(opened_apart(kind)) for kind in kinds]
        # It ends as soon as it is asked to, for a reason of its own.
        file = f"FROM {BASE_IMAGE}\nRUN trap 'exit 9' TERM; sleep {marker}"
        building = asyncio.gather(
            *(workshop.build(f"{file}{number} & wait\n") for number, workshop in enumerate(workshops)),
            return_exceptions=True,
        )
        try:
            await _until(lambda: len(_numbers(f"sleep {marker}")) == len(kinds))
            await asyncio.to_thread(end)
            failures = await building
        finally:
            for number in _numbers(f"sleep {marker}"):  # the engine has forgotten them
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
            await asyncio.to_thread(dockerd.start)
        return [failure for failure in failures if isinstance(failure, Failure)]


def _login(registry: Registry) -> RegistryLogin:
    return RegistryLogin(host=registry.address, username=registry.username, password=registry.password)


@contextlib.asynccontextmanager
async def _cancelled(opened: Opened, orders: Mapping[Kind, dict[str, Any]]) -> AsyncIterator[list[Workshop]]:
    """Builds that are cancelled when the inside has ended; afterwards all is as it was."""
    async with contextlib.AsyncExitStack() as stack:
        workshops = [await stack.enter_async_context(opened(kind)) for kind in orders]
        before = [_owned(workshop) for workshop in workshops]
        building = [
            asyncio.create_task(workshop.build(**order))
            for workshop, order in zip(workshops, orders.values(), strict=True)
        ]
        try:
            yield workshops
        finally:
            for one in building:
                one.cancel()
            ended = await asyncio.gather(*building, return_exceptions=True)
        for workshop, how in zip(workshops, ended, strict=True):
            assert isinstance(how, asyncio.CancelledError), (how, workshop.said)
        assert [_owned(workshop) for workshop in workshops] == before


def _owned(workshop: Workshop) -> tuple[set[str], set[str], list[str]]:
    images = {image["Id"] for image in workshop.client.api.images(all=True)}
    containers = {container["Id"] for container in workshop.client.api.containers(all=True)}
    return images, containers, workshop.left()


def _is_making_its_image(workshop: Workshop) -> bool:
    if found := re.search(r"Running in (\w+)", workshop.said):
        state = workshop.client.api.inspect_container(found[1])["State"]
        return bool(state["Status"] == "exited")
    return "exporting layers" in workshop.said


@contextlib.asynccontextmanager
async def _deaf_registry() -> AsyncIterator[tuple[str, set[object]]]:
    """A registry that says that it is one, and then nothing: its address, and who asks for more."""
    asked: set[object] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while (await reader.readexactly(1)) != _TLS:
                head = await reader.readuntil(b"\r\n\r\n")
                if b" /v2/ " in head.split(b"\r\n")[0]:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                else:
                    asked.add(writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
        finally:
            for writer in writers:
                writer.close()
            await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


async def _until(condition: Callable[[], object], limit: float = 120) -> None:
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _numbers(command: str) -> list[int]:
    """Of the processes whose command lines start with that."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().startswith(command):
                found.append(int(folder.name))
    return found


def _of_processes() -> str:
    """Arguments and environments of all processes but this one."""
    text = b""
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name != str(os.getpid()):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    text += (folder / name).read_bytes()
    return text.decode(errors="replace")
