"""`blacktree run`: what a push would do to a folder, here and now, without GitHub."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.view import View, viewing
from config.errors import ConfigError, nearest
from config.importing import folder
from config.logging import configure
from config.recipes.folder import look
from config.recipes.table import recipe
from config.repository import FILE, PREVIEW, Repository
from workers.contract.messages import Fault, ImageResult

if TYPE_CHECKING:
    from workers.local import Ended, Pipeline

# What its exit code says: 0 for success, 2 for what can't be begun, 130 as a shell's for Ctrl-C.
FAILED, BROKEN, STOPPED = 1, 3, 130


def run(
    path: Annotated[Path, typer.Argument(help="the folder; uncommitted changes are built too")] = Path("."),
    image: Annotated[list[str] | None, typer.Option("--image", "-i", help="only this one")] = None,
    serve: Annotated[bool, typer.Option("--serve", "-s", help="start what was built, until Ctrl-C")] = False,
    environment: Annotated[str, typer.Option("--environment", "-e", help="which one --serve starts")] = "",
    test: Annotated[bool, typer.Option(help="whether the images' tests are run")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="take nothing from the layer cache")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="lines instead of a live view")] = False,
) -> None:
    """Build and test a folder's images as a worker would, and start them with --serve. Needs only Docker.

    Exits 0 when all succeeded, 1 when a build, a test or a health check failed, 3 when this machine did.
    """
    configure("text", quiet=True)
    config = _config(path)
    images = _images(config, image or [])
    place = _environment(config, environment, images) if serve or environment else None
    sys.exit(asyncio.run(_ran(path, config, images, place, test=test, fresh=fresh, plain=plain)))


def _config(path: Path) -> Repository:
    if not path.is_dir():
        raise ConfigError(f"{path} is no folder")
    said = folder.said(path)
    if said.name == FILE and said.text is None and not _has_dockerfile(path):
        try:
            recipe(look(path))
        except ConfigError as error:
            raise ConfigError(f"{path} has neither a Dockerfile nor a {FILE}, and {error}") from None
    for line in said.left_out:
        typer.echo(line, err=True)
    return said.config


def _has_dockerfile(path: Path) -> bool:
    """Whether there is one by any of its names: a build says how to write which."""
    try:
        return any(one.name.lower() in ("dockerfile", "containerfile") for one in path.iterdir())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None


def _images(config: Repository, named: Sequence[str]) -> list[str]:
    for name in named:
        if name not in config.images:
            raise ConfigError(f"--image: there is no image {name}.{nearest(name, config.images)}")
        if config.images[name].source:
            raise ConfigError(f"--image: {name} is built elsewhere, as {config.images[name].source}")
    here = [name for name, one in config.images.items() if one.source is None]
    if not here:
        raise ConfigError(f"All images of the {FILE} are built elsewhere: there is nothing to build here")
    return list(named) or here


def _environment(config: Repository, named: str, images: Sequence[str]) -> str:
    """The environment that is started: the one that is named, or the first that runs what is built."""
    if named and named not in config.environments:
        raise ConfigError(
            f"--environment: there is no environment {named}.{nearest(named, config.environments)}"
        )
    able = [name for name, one in config.environments.items() if {*config.images_of(one)} <= {*images}]
    if named and named not in able:
        wanted = " and ".join(config.images_of(config.environments[named]))
        raise ConfigError(f"--environment: {named} runs {wanted}, not only {', '.join(images)}")
    if not able:
        raise ConfigError(f"--serve: no environment of the {FILE} runs {' or '.join(images)}")
    return named or next((name for name in able if name != PREVIEW), able[0])


async def _ran(
    path: Path,
    config: Repository,
    images: Sequence[str],
    place: str | None,
    *,
    test: bool,
    fresh: bool,
    plain: bool,
) -> int:
    """The exit code. Ctrl-C and SIGTERM end it in order: nothing stays but images."""
    from workers.local import pipeline

    task = asyncio.current_task()
    assert task is not None, "asyncio.run makes one"  # noqa: S101
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _cancel_once, task)
    with viewing(plain=plain) as view:
        try:
            async with pipeline(path, config) as pipe:
                view.begin(path, pipe.builder)
                return await _all(pipe, images, place, view, test=test, fresh=fresh)
        except asyncio.CancelledError:
            view.stopped()
            return STOPPED


def _cancel_once(task: asyncio.Task[object]) -> None:
    """Whoever asks again is not to end the tidying up: then the containers would stay."""
    if not task.cancelling():
        task.cancel()


async def _all(
    pipe: Pipeline,
    images: Sequence[str],
    place: str | None,
    view: View,
    *,
    test: bool,
    fresh: bool,
) -> int:
    built: dict[str, ImageResult] = {}
    for name in images:
        ended = await pipe.build(name, view.tell(name), fresh=fresh, test=test)
        if code := _code(ended):
            view.failed(ended)
            return code
        assert ended.result.outcome == "succeeded", "or there is a code"  # noqa: S101
        assert ended.result.image is not None, "a build gives one"  # noqa: S101
        built[name] = ended.result.image
        view.built(ended, ended.result.image)
    if place is not None:
        return await _served(pipe, place, built, view)
    return 0


async def _served(pipe: Pipeline, place: str, built: Mapping[str, ImageResult], view: View) -> int:
    try:
        ended = await pipe.serve(place, built, view.tell(place))
        if code := _code(ended):
            view.failed(ended)
            return code
        view.serving(place, pipe.urls)
        return await pipe.follow(view.say)
    finally:
        await pipe.stopped(place, view.tell(place))


def _code(ended: Ended) -> int:
    if ended.result.outcome == "succeeded":
        return 0
    return FAILED if ended.result.fault is Fault.USER else BROKEN
