"""Pure: an environment's services as a worker is told of them, from a deploy's spec and what is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from bot.jobs.trusts import TRUSTED, bases
from bot.store.tables import Repository, ServiceRow
from config.registries import Login
from config.services import Service
from config.settings import Settings
from workers.contract.backups import Source
from workers.contract.services import Services, ServiceSpec

OWN = "own_services"  # of a deploy's spec: by name those that run an image of the repository's, and which
STAY = "services_stay"  # of a deploy's spec: it brings out a release of before, and services are none of it


def place(instance: str, repository_id: int, environment: str) -> str:
    """Whose services are, by what never changes: a repository may get another name."""
    return f"{instance}.{repository_id}.{environment}"


def placed(place: str, instance: str) -> tuple[int, str] | None:
    """A repository's number and an environment's name; None if the place is not this instance's."""
    owner, _, rest = place.partition(".")
    number, _, environment = rest.partition(".")
    return (int(number), environment) if owner == instance and number.isdigit() and environment else None


def named(spec: Mapping[str, Any]) -> dict[str, Service]:
    """The services in a deploy's spec, or in a release's settings, which may be of before there were any."""
    return {name: Service.model_validate(told) for name, told in (spec.get("services") or {}).items()}


def generated(services: Mapping[str, Service]) -> dict[str, Sequence[str]]:
    """The secrets that each of them has."""
    return {name: service.generate for name, service in services.items() if service.generate}


def logins(services: Mapping[str, Service], settings: Settings, own: Collection[str] = ()) -> list[Login]:
    """What their images are pulled with: a name without a host is Docker Hub's.

    `own`: the references of images of the repository's.
    """
    images = [one.image if "/" in one.image else f"library/{one.image}" for one in services.values()]
    images += own
    found = {login.host: login for image in images for login in settings.pull_logins(image)}
    return list(found.values())


def services(
    spec: Mapping[str, Any],
    repository: Repository,
    environment: str,
    instance: str,
    rows: Collection[ServiceRow],
    serving: Mapping[str, Any],
    settings: Settings,
    sources: Mapping[str, Source] | None = None,
    images: Mapping[str, str] | None = None,
) -> Services | None:
    """None where there are none. `serving`: the settings of the release that serves.

    `sources`: what those are filled from that are filled from a backup. `images`: those of the release, by
    name.
    """
    wanted, known = named(spec), {row.name: row for row in rows}
    if not wanted and not any(row.worker for row in rows):
        return None
    whose = place(instance, repository.id, environment)
    names = bases(repository, TRUSTED, settings)
    own = {name: (images or {}).get(image, "") for name, image in (spec.get(OWN) or {}).items()}
    return Services(
        place=whose,
        wanted=[
            _service(whose, name, one, known.get(name), (sources or {}).get(name), own.get(name, ""))
            for name, one in wanted.items()
        ],
        needed=[name for name in named(serving) if name not in wanted],
        stay=bool(spec.get(STAY)),
        reserved=names.reserved,
        permitted=names.permitted,
        shared=names.shared,
    )


def _service(
    whose: str,
    name: str,
    service: Service,
    row: ServiceRow | None,
    source: Source | None,
    own: str,
) -> ServiceSpec:
    """`own`: the image of the repository's that it starts with."""
    pinned = (row.pinned if row and row.image == service.image else "") or own
    seeded = bool(row and row.seeded)
    return ServiceSpec.told(whose, name, service, pinned=pinned, seeded=seeded, source=source)
