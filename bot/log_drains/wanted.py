"""Which drains there are: the instance's for every environment, and what each live release's file names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlmodel import col, select

from bot.log_drains.forms import Source
from bot.log_drains.sink import Target
from bot.secrets.repositories import Secrets
from bot.store.database import Store
from bot.store.tables import Environment, Release, ReleaseState, Repository
from config.log_drains import Logs, address, headers
from config.networks import parse_reachable
from config.settings import Settings

INSTANCE, OWN = "instance", "repository"

Key = tuple[int, str]  # an environment's id, and whose drain it is: INSTANCE or OWN


@dataclass(frozen=True)
class Wanted:
    """A drain of an environment's lines; `problem` says why it has no target."""

    source: Source
    shown: str  # its address, for people
    target: Target | None = None
    problem: str = ""


def instances(settings: Settings) -> Target | None:
    """Pure: the instance's own."""
    if not settings.log_drain:
        return None
    said = settings.log_drain_headers
    told = headers(said.get_secret_value()) if said else {}
    return Target.of(address(settings.log_drain), told, gzip=settings.log_drain_gzip)


async def wanted(
    store: Store, secrets: Secrets, settings: Settings, *of: ColumnElement[bool]
) -> Mapping[Key, Wanted]:
    """All of them, or those `of` some environments. Raises ConfigError where no key opens the secrets."""
    found: dict[Key, Wanted] = {}
    all_of_it = instances(settings)
    for place, repository, said in await _places(store, *of):
        source = Source(repository.full_name, place.name)
        if all_of_it is not None:
            found[place.id or 0, INSTANCE] = Wanted(source, all_of_it.address.shown, all_of_it)
        try:
            logs = Logs.model_validate(said or {})
        except ValueError:  # of another version: no reason why the others' lines should stay
            problem = "what the live release says of it is of another version of Blacktree: deploy again"
            found[place.id or 0, OWN] = Wanted(source, "its log drain", problem=problem)
            continue
        if logs.drain is not None:
            found[place.id or 0, OWN] = await _own(place, source, logs, secrets, settings)
    return found


async def _places(
    store: Store, *of: ColumnElement[bool]
) -> list[tuple[Environment, Repository, Mapping[str, Any] | None]]:
    """Each environment with the `logs` of what is live there, or else is about to be."""
    serving = col(Release.state).in_([ReleaseState.LIVE, ReleaseState.STARTING])
    logs: Any = col(Release.settings)["logs"]
    said = select(Release.environment_id, Release.state, logs).where(serving).order_by(col(Release.id))
    joined = col(Repository.id) == col(Environment.repository_id)
    whose = select(Environment, Repository).join(Repository, joined).where(*of)
    async with store.reading() as session:
        rows = (await session.exec(said)).all()
        found = {environment: told for environment, _, told in rows}
        found |= {environment: told for environment, state, told in rows if state is ReleaseState.LIVE}
        places = (await session.exec(whose)).all()
    return [(place, repository, found.get(place.id or 0)) for place, repository in places]


async def _own(
    place: Environment, source: Source, logs: Logs, secrets: Secrets, settings: Settings
) -> Wanted:
    drain = logs.drain
    assert drain is not None, "or there is none to ask for"  # noqa: S101
    there = address(drain.to)
    names = list(drain.headers.values())
    preview = place.pull_number is not None
    values = await secrets.of(place.repository_id, names, place.name, preview=preview)
    if missing := [name for name in names if not values.get(name)]:
        return Wanted(source, there.shown, problem=f"its secret {missing[0]} is not set")
    told = {header: values[name] for header, name in drain.headers.items()}
    if bad := [name for name in names if not (values[name].isascii() and values[name].isprintable())]:
        return Wanted(
            source, there.shown, problem=f"its secret {bad[0]} can be no header: it has more than one line"
        )
    reachable = parse_reachable(settings.reachable)
    return Wanted(source, there.shown, Target.of(there, told, gzip=drain.gzip, reachable=reachable))
