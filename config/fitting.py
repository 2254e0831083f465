"""What of a `.blacktree.yml` does not fit together, though each value by itself is well formed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from config import elsewhere, processes, services, tasks
from config.errors import nearest
from config.predefined import is_predefined
from config.processes import PREVIEW, domain_misfit

if TYPE_CHECKING:
    from config.repository import Environment, Repository

_PULL = re.compile(r"pr-\d+")
Misfit = tuple[tuple[str | int, ...], str]


def misfits(config: Repository) -> list[Misfit]:
    """Each as (where, sentence)."""
    return [
        *_images(config),
        *elsewhere.misfits(config),
        *_environments(config),
        *services.misfits(config.environments),
        *processes.misfits(config),
        *tasks.misfits(config.environments),
        *_schedules(config),
    ]


def _images(config: Repository) -> Iterator[Misfit]:
    for name, image in config.images.items():
        for argument in filter(is_predefined, image.args):
            yield (
                ("images", name, "args", argument),
                "is no part of a layer's key, so only the instance sets it: its administrator has"
                " BUILD_HTTP_PROXY and the like for proxies; anything else needs a name of its own",
            )
    for name, environment in config.environments.items():
        where = ("environments", name, "image")
        if environment.image is None and len(config.images) > 1 and _inherits_image(environment):
            yield where, f"say which of {', '.join(config.images)} it runs"
        elif environment.image is not None and environment.image not in config.images:
            yield where, f"there is no image {environment.image}.{nearest(environment.image, config.images)}"


def _inherits_image(environment: Environment) -> bool:
    """Whether something runs in the environment's own image."""
    said = environment.processes.values()
    once = [one.seed.command for one in environment.services.values() if one.seed]
    once += [task.command for task in environment.tasks.values() if task.process is None]
    return not said or any([environment.release_command, *once]) or any(one.image is None for one in said)


def _environments(config: Repository) -> Iterator[Misfit]:
    for name, environment in config.environments.items():
        where, on = ("environments", name), environment.on or []
        if _PULL.fullmatch(name):
            yield where, "such names are those of pull requests' previews"
        if name == PREVIEW and {*on} - {"pull_request", "command"}:
            yield (*where, "on"), "a preview is reached by pull_request and command only"
        if name != PREVIEW and "pull_request" in on:
            yield (*where, "on"), f"pull_request reaches {PREVIEW} only"
        if environment.target == "swarm" and environment.health.kind in ("up", "command"):
            yield (*where, "health", "kind"), "a swarm's tasks are asked by http, tcp or image"
        if environment.domain and (said := domain_misfit(name, environment.domain)):
            yield (*where, "domain"), said
        places = list(environment.volumes.values())
        if twice := [one for one in places if places.count(one) > 1]:
            yield (*where, "volumes"), f"two of them are at {twice[0]}"
        yield from _order(config, name)


def _order(config: Repository, name: str) -> Iterator[Misfit]:
    """What is wrong with the environment that `name` comes after."""
    where, after = ("environments", name, "gates", "after"), config.environments[name].gates.after
    others = [other for other in config.environments if other not in (name, PREVIEW)]
    if after is None:
        return
    if name == PREVIEW:
        yield where, "a preview comes after none: leave it out"
    elif after == PREVIEW:
        yield where, f"{PREVIEW} is a pattern for many, not one environment"
    elif after not in config.environments:
        yield where, f"there is no environment {after}.{nearest(after, others)}"
    else:
        seen = [name]
        while after is not None and after in config.environments and after not in seen:
            seen.append(after)
            after = config.environments[after].gates.after
        if after in seen:
            yield where, f"goes round in a circle: {', '.join(seen)}, {after}"


def _schedules(config: Repository) -> Iterator[Misfit]:
    places = [name for name in config.environments if name != PREVIEW]
    for index, schedule in enumerate(config.schedules):
        where = ("schedules", index, "environment")
        if schedule.environment == PREVIEW:
            yield where, f"{PREVIEW} is a pattern for many, not one environment"
        elif schedule.environment not in places:
            yield (
                where,
                f"there is no environment {schedule.environment}.{nearest(schedule.environment, places)}",
            )
