"""An environment's services where there is no bot: for as long as a run lasts."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from config.services import Service
from workers.contract.services import Services, ServiceSpec

_BYTES = 24  # of a generated value: 48 characters, as a bot's have


def generated(said: Mapping[str, Service]) -> dict[str, dict[str, str]]:
    """New values of what each of them generates."""
    return {
        name: {variable: secrets.token_hex(_BYTES) for variable in service.generate}
        for name, service in said.items()
        if service.generate
    }


def services(place: str, said: Mapping[str, Service]) -> Services | None:
    """Pure: None where there are none. What a backup would fill stays empty: there is none here."""
    if not said:
        return None
    return Services(place=place, wanted=[ServiceSpec.told(place, name, one) for name, one in said.items()])
