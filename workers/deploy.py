"""The story of a deploy: pull ▸ start ▸ check ▸ switch. The old release is not touched."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import secrets
from collections.abc import AsyncIterator

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec, Ready, Refusal, Step, Switched
from workers.contract.queue import QueueDown
from workers.engine.engine import PREFIX, Container, ContainerSpec, Image
from workers.failure import Failure, final, ours, user
from workers.probe import Seen, asker, look
from workers.tools import Tools

_LAST_LINES = 20
_ASKING = 10.0  # seconds for one answer of the bot
_AGAIN = 1.0  # seconds between two questions
_GRACE = 2.0  # seconds that a release that never served gets to end


async def deploy(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Start a release beside the one that serves and have the bot switch to it. Raises Failure."""
    async with attempt.step(Step.PULL):
        image = await _pulled(attempt, spec, tools)
    async with _removed_unless_switched(attempt, spec, tools):
        async with attempt.step(Step.START):
            port = spec.port or _exposed(image)
            container = await _started(attempt, spec, port, tools)
        async with attempt.step(Step.CHECK):
            await _checked(attempt, spec, container, port, tools)
        async with attempt.step(Step.SWITCH):
            await _switched(attempt, spec, container, tools)


async def _pulled(attempt: Attempt, spec: DeploySpec, tools: Tools) -> Image:
    if image := await tools.engine.image(spec.image):
        attempt.log.line(f"{spec.image} is here already")
        return image
    if not spec.pull:
        raise final(
            "image_missing",
            f"The image {spec.image} is not on this worker: it was removed, or built on another machine"
            " without a registry (set REGISTRY)",
        )
    await tools.builder.pull(spec.image, attempt.credentials.registries, attempt.log.write)
    image = await tools.engine.image(spec.image)
    if image is None:
        raise ours("pull_failed", f"{spec.image} was pulled, but the engine does not have it")
    return image


def _exposed(image: Image) -> int:
    if not image.ports:
        raise user("no_port", "No port is known: add EXPOSE to the Dockerfile, or `port` to the environment")
    return image.ports[0]


@contextlib.asynccontextmanager
async def _removed_unless_switched(attempt: Attempt, spec: DeploySpec, tools: Tools) -> AsyncIterator[None]:
    try:
        yield
    except BaseException as error:
        # Once the bot was asked, it may have switched: then only its own answer says that the release may
        # go. Where that never comes, the bot lists the release as retired if nobody is served by it.
        if not attempt.committing or isinstance(error, Failure):
            await _remove(attempt, spec, tools)
        raise


async def _remove(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    mine = _labels(attempt, spec, tools) | {"attempt": str(attempt.ref.attempt)}
    for container in await tools.engine.containers(mine):
        await tools.engine.remove(container.id, _GRACE)
    await tools.engine.remove_network(network_name(tools.worker, spec.repository, spec.environment))


async def _started(attempt: Attempt, spec: DeploySpec, port: int, tools: Tools) -> Container:
    await _remove_earlier_attempts(attempt, spec, tools)
    labels = {
        **spec.labels,
        **{PREFIX + name: value for name, value in _labels(attempt, spec, tools).items()},
        PREFIX + "attempt": str(attempt.ref.attempt),
        PREFIX + "release": spec.release,
        PREFIX + "environment": spec.environment,
        PREFIX + "repository": spec.repository,
    }
    container = await tools.engine.start(
        ContainerSpec(
            name=_container_name(spec),
            image=spec.image,
            command=spec.command,
            env=spec.env,
            limits=spec.limits,
            port=port,
            address=tools.address,
            network=network_name(tools.worker, spec.repository, spec.environment),
            labels=labels,
        )
    )
    attempt.log.line(f"{container.name} runs; its port {port} is published at {container.address}")
    return container


async def _remove_earlier_attempts(attempt: Attempt, spec: DeploySpec, tools: Tools) -> None:
    """Their leases are lost, or this attempt would not be."""
    for container in await tools.engine.containers(_labels(attempt, spec, tools)):
        await tools.engine.remove(container.id, _GRACE)


def _labels(attempt: Attempt, spec: DeploySpec, tools: Tools) -> dict[str, str]:
    """What the containers of this job are found by."""
    return {"worker": tools.worker, "instance": spec.instance, "job": attempt.ref.job}


async def _checked(attempt: Attempt, spec: DeploySpec, container: Container, port: int, tools: Tools) -> None:
    """Wait until the container is healthy; what it prints meanwhile is in the log."""
    seen = Seen(False, "it did not answer")
    try:
        async with tools.engine.following(container.id, attempt.log.write), asker() as client:
            async with asyncio.timeout(spec.probe.timeout) as clock:
                while not seen.healthy:
                    await _alive(container, tools)
                    seen = await look(client, container.address or "", spec.probe.path)
                    if not seen.healthy:
                        await asyncio.sleep(spec.probe.interval)
            await _alive(container, tools)
    except TimeoutError:
        if not clock.expired():
            raise
        await _show_last_lines(attempt, container, tools)
        raise user("unhealthy", _unhealthy(spec, port, seen)) from None
    except _Crashed as crash:
        await _show_last_lines(attempt, container, tools)
        raise user("crashed", crash.sentence) from None
    await tools.engine.keep(container.id)
    attempt.log.line(f"healthy: {seen.what}")


class _Crashed(Exception):
    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


async def _alive(container: Container, tools: Tools) -> None:
    found = await tools.engine.container(container.id)
    if found is None:
        raise _Crashed("The container was removed by somebody else while it started")
    if found.out_of_memory:
        raise _Crashed("The container ran out of memory while it started: raise limits.memory")
    if found.exit_code in (126, 127) and not found.running:
        raise _Crashed(
            f"The container's command cannot be run (exit code {found.exit_code}):"
            " check `command`, or CMD and ENTRYPOINT in the Dockerfile"
        )
    if not found.running or found.restarts:
        raise _Crashed(
            f"The container ended with exit code {found.exit_code} while it started:"
            " its last lines in the log say why"
        )


def _unhealthy(spec: DeploySpec, port: int, seen: Seen) -> str:
    whence = "" if spec.port else ", the lowest that the image exposes"
    return (
        f"Port {port} of the container{whence} was not healthy within {spec.probe.timeout:g} s: {seen.what}."
        " The app must listen on 0.0.0.0, and `port` and `health` in .blacktree.yml must fit it"
    )


async def _show_last_lines(attempt: Attempt, container: Container, tools: Tools) -> None:
    attempt.log.line("── the container's last lines")
    attempt.log.write(await tools.engine.last_lines(container.id, _LAST_LINES))


async def _switched(attempt: Attempt, spec: DeploySpec, container: Container, tools: Tools) -> None:
    """Have the bot switch the route. Asked again until it answers: the same question switches once."""
    ready = Ready(
        job=attempt.ref.job,
        attempt=attempt.ref.attempt,
        release=spec.release,
        addresses=[container.address or ""],
    )
    attempt.commit()
    while True:
        try:
            answer = await tools.queue.request(ready, _ASKING)
        except (QueueDown, TimeoutError) as error:
            attempt.log.line(f"the bot does not answer yet: {error or 'time-out'}")
            await asyncio.sleep(_AGAIN)
            continue
        if isinstance(answer, Switched):
            attempt.log.line(f"live at {answer.url}")
            return
        if isinstance(answer, Refusal) and answer.retry:
            await asyncio.sleep(_AGAIN)
            continue
        reason = answer.reason if isinstance(answer, Refusal) else f"it answered {answer.kind}"
        raise ours("not_switched", f"The bot did not switch to the new release: {reason}")


def network_name(worker: str, repository: str, environment: str) -> str:
    """Of the network that an environment's containers share on one worker."""
    unique = hashlib.sha256("\0".join((worker, repository, environment)).encode()).hexdigest()[:8]
    return f"blacktree-{_slug(repository)}-{_slug(environment)}-{unique}"


def _container_name(spec: DeploySpec) -> str:
    """One that no other container has, of another worker on the same engine either."""
    return f"blacktree-{_slug(spec.repository)}-{_slug(spec.environment)}-{secrets.token_hex(4)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", text.lower()).strip("-.")[:40] or "x"
