"""Pure: whose variables are whose: what has a value, what is a secret, what a service makes for others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from config.faults import Keys
from config.importing.compose_model import Service
from config.importing.found import Notebook
from config.importing.interpolation import Unfilled

_SECRET = re.compile(r"PASSWORD|PASSWD|PASS$|SECRET|TOKEN|KEY|PWD", re.IGNORECASE)
Services = Mapping[str, Service]


@dataclass
class Told:
    """The variables of every service."""

    own: dict[str, dict[str, str]] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)  # that somebody has to set
    generated: dict[str, list[str]] = field(default_factory=dict)  # by service
    provides: dict[str, dict[str, str]] = field(default_factory=dict)  # by service
    _made: dict[str, tuple[str, str]] = field(default_factory=dict)  # by Compose's variable: service, name

    def of(self, service: str) -> dict[str, Any]:
        """What a service has of them, as a .blacktree.yml says it."""
        said = {
            "env": self.own.get(service),
            "generate": self.generated.get(service),
            "provides": self.provides.get(service),
        }
        return {key: value for key, value in said.items() if value}


def told(own: Services, others: Services, notebook: Notebook) -> Told:
    """`own` is what is built, `others` are services: a password without a value is made for them."""
    found = Told()
    for key, one in others.items():
        found.own[key] = {}
        for variable, value in one.environment.items():
            _of_service(found, key, variable, value, notebook)
    for key, one in own.items():
        found.own[key] = {}
        for variable, value in one.environment.items():
            _of_process(found, key, variable, value, notebook)
    _untold(found, notebook)
    return found


def _untold(found: Told, notebook: Notebook) -> None:
    """What is made here is known to nobody outside: an app that reads it in a file of its own has it not."""
    for named, (key, variable) in found._made.items():
        told = found.provides.get(key, {}).values()
        if not any(f"{{{variable}}}" in template for template in told):
            said = f"is made here, and nothing that is built is told: name {named} in its `environment`"
            notebook.leave_out(("services", key, "environment", variable), said)


def _of_service(found: Told, key: str, variable: str, value: Any, notebook: Notebook) -> None:
    keys = ("services", key, "environment", variable)
    if isinstance(value, str):
        found.own[key][variable] = value
        return
    named = variable if value is None else value.whole if isinstance(value, Unfilled) else None
    if named is None or not _SECRET.search(variable):
        _without_value(keys, value, variable, notebook)
    elif named in found._made:
        there = found._made[named][0]
        notebook.refuse(keys, f"{named} is made for {there}, and no other service is told: write a default")
    else:
        found._made[named] = (key, variable)
        found.generated.setdefault(key, []).append(variable)


def _of_process(found: Told, key: str, variable: str, value: Any, notebook: Notebook) -> None:
    keys = ("services", key, "environment", variable)
    if isinstance(value, str):
        found.own[key][variable] = value
        return
    value = Unfilled(()) if value is None else value
    named = [one.name for one in value.missing] or [variable]
    makers = {found._made[one][0] if one in found._made else "" for one in named}
    if "" not in makers and len(makers) == 1:
        (maker,) = makers
        template = value.template or f"{{{found._made[variable][1]}}}"
        for one in named:
            template = template.replace(f"{{{one}}}", f"{{{found._made[one][1]}}}")
        before = found.provides.setdefault(maker, {}).setdefault(variable, template)
        if before != template:
            notebook.refuse(
                keys, "is another one for another service: what a service provides is the same for all"
            )
    elif not value.parts or value.whole == variable:
        found.secrets += [variable] if variable not in found.secrets else []
    elif value.whole is not None:
        notebook.refuse(
            keys,
            f"has the value of {value.whole}, which is nowhere: a secret is given by its own name alone, so"
            f" write {variable} without a value",
        )
    else:
        _without_value(keys, value, variable, notebook)


def _without_value(keys: Keys, value: Any, variable: str, notebook: Notebook) -> None:
    name = value.missing[0].name if isinstance(value, Unfilled) else variable
    told = value.missing[0].told if isinstance(value, Unfilled) else ""
    said = f" ({told})" if told else ""
    notebook.refuse(keys, f"{name} has no value{said}: write ${{{name}:-VALUE}}, or put it into .env")
