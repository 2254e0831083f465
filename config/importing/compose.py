"""A Compose file ▸ a `.blacktree.yml`: what is built becomes images and processes, all else services.

https://docs.docker.com/reference/compose-file/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from config.importing import compose_env as env
from config.importing.compose_file import env_files, read, services
from config.importing.compose_model import Service
from config.importing.compose_parts import image, mounts, process, service
from config.importing.compose_values import labelled_web, name
from config.importing.found import Found, Notebook
from config.processes import PREVIEW, WEB

_ONCE = "service_completed_successfully"
_RESTART = {"always": "unless-stopped", "unless-stopped": "unless-stopped"}
Services = Mapping[str, Service]


def asked(file: str, text: str) -> list[str]:
    """The paths of the files that are read with it. Raises ConfigError."""
    return env_files(read(file, text))


def found(file: str, text: str, files: Mapping[str, str], has: Callable[[str], bool]) -> Found:
    """What a Compose file means here. `files` are the texts of those `asked` that are there.

    `has` tells whether the repository has a path. Raises ConfigError where it can't be read at all.
    """
    data = read(file, text)
    notebook = Notebook(data)
    every = services(data, files, notebook)
    built = {key: one for key, one in every.items() if one.build is not None}
    # What is built may be run by others too, by the name that it is given.
    by_name = {one.image: key for key, one in built.items() if one.image}
    runs = {key: by_name.get(one.image or "", "") for key, one in every.items() if key not in built}
    own = {key: one for key, one in every.items() if key in built or runs[key]}
    others = {key: one for key, one in every.items() if key not in own}
    if not own and not any(note.stops for note in notebook.notes):
        said = "nothing is built here: give one `build`; its Dockerfile may have nothing but `FROM` its image"
        notebook.refuse(("services",), said)
    once = _once(every, own, notebook)
    web = _web({key: one for key, one in own.items() if key != once}, others, notebook)
    names = _names(own, others, web, notebook)
    images, image_of = _images(built, notebook)
    image_of |= {key: image_of[there] for key, there in runs.items() if there}
    place = _environment(own, others, names, image_of, once, web, notebook, has)
    if len(images) > 1 and once:
        place["image"] = image_of[once]
    if len(images) == 1 or "image" in place:
        for said in place["processes"].values():
            if said["image"] == place.get("image", next(iter(images))):
                del said["image"]
    _external(data, notebook)
    environments = {"production": place, PREVIEW: place}
    return Found(file, {"images": images, "environments": environments}, notebook.notes)


def _once(every: Services, own: Services, notebook: Notebook) -> str | None:
    """The service for whose end others wait: it is the release command."""
    waited = {
        there: (key, there)
        for key, one in every.items()
        for there, dependency in one.depends_on.items()
        if dependency.condition == _ONCE and there in every
    }
    for there in waited:
        keys = ("services", there)
        if there not in own:
            notebook.refuse(keys, "others wait for its end: only what is built runs once before a release")
        elif own[there].command is None:
            notebook.refuse(
                keys, "others wait for its end: write the `command` that runs once before a release"
            )
    first = next(iter(waited), None)
    for there in [*waited][1:]:
        notebook.refuse(
            ("services", there), f"one command runs before a release, and that is {first}'s: join them"
        )
    return first if first and first in own and own[first].command is not None else None


def _web(own: Services, others: Services, notebook: Notebook) -> str | None:
    """The service that visitors reach: what is labelled so, else what publishes or exposes a port first."""
    labelled = []
    for key, one in {**own, **others}.items():
        try:
            is_web, _ = labelled_web(one.labels)
        except ValueError as error:
            notebook.refuse(("services", key, "labels"), f"blacktree.web {error}")
            continue
        if is_web and key in others:
            notebook.refuse(
                ("services", key, "labels"), "blacktree.web is for what is built here: give it `build`"
            )
        elif is_web:
            labelled.append(key)
    for key in labelled[1:]:
        notebook.refuse(("services", key, "labels"), f"blacktree.web is {labelled[0]}'s already: remove one")
    published = [key for key, one in own.items() if one.ports]
    published = [WEB] * (WEB in published) + published
    exposed = [key for key, one in own.items() if one.expose]
    if chosen := [*labelled, *published, *exposed]:
        return chosen[0]
    if WEB in own or len(own) == 1:  # its image says where it listens
        return WEB if WEB in own else next(iter(own))
    if own:
        said = "visitors reach none of them: give one of what is built `ports`, or the label `blacktree.web`"
        notebook.leave_out(("services",), said)
    return None


def _names(own: Services, others: Services, web: str | None, notebook: Notebook) -> dict[str, str]:
    """What each service is called here, which is the name that the others reach it by."""
    names = {key: WEB if key == web else name(key) for key in [*own, *others]}
    for key, here in names.items():
        if here == key:
            continue
        why = " since visitors reach it" if key == web else ""
        notebook.leave_out(("services", key), f"is called {here} here{why}: the others reach it as {here}")
    for key, here in names.items():
        if [*names.values()].count(here) > 1 and key != web:
            notebook.refuse(("services", key), f"would be called {here}, as another is: name it otherwise")
    return names


def _images(built: Services, notebook: Notebook) -> tuple[dict[str, Any], dict[str, str]]:
    """The images, each once, and the one that each service runs in."""
    images: dict[str, Any] = {}
    image_of: dict[str, str] = {}
    for key, one in built.items():
        made = image(one, ("services", key), notebook)
        same = next((known for known, other in images.items() if other == made), None)
        image_of[key] = same or _unlike(images, name(key))
        images.setdefault(image_of[key], made)
    return images or {"app": {}}, image_of


def _unlike(images: Mapping[str, Any], wanted: str) -> str:
    """A name that no other image has."""
    return next(
        one for one in (wanted, *(f"{wanted}-{number}" for number in range(2, 99))) if one not in images
    )


def _environment(
    own: Services,
    others: Services,
    names: Mapping[str, str],
    image_of: Mapping[str, str],
    once: str | None,
    web: str | None,
    notebook: Notebook,
    has: Callable[[str], bool],
) -> dict[str, Any]:
    """What is the same in production and in a preview."""
    told = env.told(own, others, notebook)
    place: dict[str, Any] = {}
    if once is not None:
        place |= {"release_command": own[once].command}
        place |= {"env": told.own[once]} if told.own[once] else {}
    place |= _shared(own, notebook)
    place |= {"secrets": told.secrets} if told.secrets else {}
    if volumes := mounts(own, others, notebook, has):
        place["volumes"] = volumes
    place["processes"] = {
        names[key]: {
            "image": image_of[key],
            **process(key, one, notebook, served=key == web),
            **({"env": told.own[key]} if told.own[key] else {}),
        }
        for key, one in own.items()
        if key != once
    }
    if others:
        place["services"] = {
            names[key]: service(key, one, told.of(key), notebook) for key, one in others.items()
        }
    return place


def _shared(own: Services, notebook: Notebook) -> dict[str, Any]:
    """What an environment has for all of its processes: there it must be the same for all."""
    found: dict[str, Any] = {}
    for key in ("user", "read_only"):
        said = {getattr(one, key) or None for one in own.values()}
        if len(said) > 1:
            first = next(there for there, one in own.items() if getattr(one, key))
            notebook.refuse(
                ("services", first, key), "is one for all that is built here: say it in the Dockerfile"
            )
        elif one := said - {None}:
            found[key] = one.pop()
    if {one.restart for one in own.values()} == {"on-failure"}:
        found["restart"] = "on-failure"
    return found


def _external(data: Mapping[str, Any], notebook: Notebook) -> None:
    """Volumes that somebody else makes are nobody's here."""
    volumes = data.get("volumes")
    for key, said in volumes.items() if isinstance(volumes, Mapping) else []:
        if isinstance(said, Mapping) and str(said.get("external") or "false").lower() != "false":
            notebook.refuse(
                ("volumes", key, "external"), "volumes are the environment's own: leave `external` out"
            )
        elif isinstance(said, Mapping) and (said.get("driver") or said.get("driver_opts")):
            notebook.leave_out(("volumes", key), "is an ordinary volume of the worker's engine here")
