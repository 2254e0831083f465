"""A Compose file ▸ its services, filled in, with what each has from others: nothing of their meaning yet."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from typing import Any

from pydantic import ValidationError

from config.errors import ConfigError, nearest, sentences
from config.faults import Keys
from config.importing import dotenv
from config.importing.compose_keys import is_unread, unlike, unlike_build
from config.importing.compose_model import Service
from config.importing.found import Notebook
from config.importing.interpolation import Uninterpolated, filled, text_of
from config.yaml import FILE, MOST_BYTES, MOST_VALUES, Listing, load
from config.yaml import Mapping as Lines

# https://docs.docker.com/compose/intro/compose-application-model/#the-compose-file, the first one counts
NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
ENV = ".env"
_MOST_ENV_FILES = 8
_MOST_ENV = MOST_BYTES  # of one file with variables
_MOST_SERVICES = 64  # each may extend another one, and so be as large as the whole file
_DEEPEST = 8
_WHOLE = ("command", "entrypoint", "test")  # lists that another one takes the place of
_PAIRS = ("environment", "labels", "args")
_MOST_FILLED = 8 * MOST_BYTES  # characters of all variables, once they are filled in


def read(file: str, text: str) -> Lines:
    """Raises ConfigError with one line for each fault."""
    try:
        data = load(text)
    except ConfigError as error:
        raise ConfigError(str(error).replace(FILE, file, 1)) from None
    if not isinstance(data, Lines) or not isinstance(data.get("services"), Lines):
        raise ConfigError(f"{file}:1: must be a mapping with `services` in it")
    if len(data["services"]) > _MOST_SERVICES:
        raise ConfigError(f"{file}: has over {_MOST_SERVICES} services")
    return data


def env_files(data: Lines) -> list[str]:
    """The files with variables that it names, in the repository, at most 8; `.env` is one."""
    named = [ENV]
    for service in data["services"].values():
        said = service.get("env_file") if isinstance(service, Lines) else None
        for one in said if isinstance(said, Listing) else [said]:
            path = one.get("path") if isinstance(one, Lines) else one
            if isinstance(path, str):
                named.append(_relative(_by_default(path)))
    return [path for path in dict.fromkeys(named) if path and ".." not in path.split("/")][:_MOST_ENV_FILES]


def _by_default(path: str) -> str:
    """A path with its variables' defaults: it is asked for before any file is read."""
    try:
        return "".join(part for part in filled(path, {}) if isinstance(part, str))
    except Uninterpolated:
        return ""


def services(data: Lines, files: Mapping[str, str], notebook: Notebook) -> dict[str, Service]:
    """Those that are started, by name: what has a profile that is not active is left out."""
    for path in [path for path, text in files.items() if len(text) > _MOST_ENV]:
        notebook.refuse((), f"{path} is over {_MOST_ENV} bytes: name what is needed of it in `environment`")
    texts = {path: text if len(text) <= _MOST_ENV else "" for path, text in files.items()}
    values = dotenv.variables(texts.get(ENV, ""))
    # Each is read once, however many services name it.
    given = {path: dotenv.variables(text, values) for path, text in texts.items()}
    asked, size, count = env_files(data), 0, 0
    active = {one.strip() for one in values.get("COMPOSE_PROFILES", "").split(",")} - {""}
    found = {}
    _whole_file(data, notebook)
    for name in data["services"]:
        keys = ("services", name)
        raw = _extended(data, name, notebook)
        if raw is None or not _is_active(raw, active, keys, notebook):
            continue
        count += _values(raw)
        if count > MOST_VALUES:
            notebook.refuse(keys, f"services have over {MOST_VALUES} values, what they extend included")
            break
        whole = _interpolated(raw, keys, values, notebook)
        unlike(whole, keys, notebook)
        try:
            service = Service.model_validate(whole)
        except ValidationError as error:
            for where, said in sentences(error, 20):
                notebook.refuse((*keys, *where), said)
            continue
        if service.build is not None and isinstance(whole["build"], Mapping):
            unlike_build(whole["build"], (*keys, "build"), notebook)
        found[name] = _with_env_files(service, keys, given, asked, values, notebook)
        size += sum(len(one) for one in found[name].environment.values() if isinstance(one, str))
        if size > _MOST_FILLED:
            notebook.refuse(keys, f"the variables of all services become over {_MOST_FILLED} characters")
            break
    return found


def _values(value: Any) -> int:
    inside = value.values() if isinstance(value, Lines) else value if isinstance(value, Listing) else ()
    return 1 + sum(map(_values, inside))


def _whole_file(data: Lines, notebook: Notebook) -> None:
    if data.get("include"):
        notebook.refuse(("include",), "other files are not read: write the services into this one")


def _extended(data: Lines, name: str, notebook: Notebook, depth: int = 0) -> Lines | None:
    """A service with what it `extends` in the same file; None where there is no such thing."""
    keys, raw = ("services", name), data["services"].get(name)
    raw = Lines() if raw is None else raw
    if not isinstance(raw, Lines):
        notebook.refuse(keys, "must be a mapping: keys with their values")
        return None
    said = raw.get("extends")
    if said is None:
        return raw
    there = said.get("service") if isinstance(said, Lines) else said
    if isinstance(said, Lines) and said.get("file"):
        notebook.refuse((*keys, "extends"), "other files are not read: write the service into this one")
        return None
    if depth >= _DEEPEST:
        notebook.refuse(
            (*keys, "extends"), f"services extend each other in a circle, or over {_DEEPEST} levels deep"
        )
        return None
    if not isinstance(there, str) or there not in data["services"]:
        close = nearest(str(there), data["services"])
        notebook.refuse((*keys, "extends"), f"there is no service {str(there)[:40]} to extend.{close}")
        return None
    base = _extended(data, there, notebook, depth + 1)
    return None if base is None else _merged(base, raw)


def _merged(base: Lines, own: Lines) -> Lines:
    """https://docs.docker.com/reference/compose-file/merge/: mappings by key, lists one after the other."""
    merged = Lines()
    for key in [*base, *(key for key in own if key not in base)]:
        there, here = _alike(key, base.get(key), own.get(key))
        if key not in own:
            merged[key] = there
        elif isinstance(there, Lines) and isinstance(here, Lines):
            merged[key] = _merged(there, here)
        elif isinstance(there, Listing) and isinstance(here, Listing) and key not in _WHOLE:
            merged[key] = _joined(there, here)
        else:
            merged[key] = here
        merged.lines[key] = own.lines.get(key, base.lines.get(key, 1))
    return merged


def _alike(key: str, *said: Any) -> tuple[Any, ...]:
    """Both in the long spelling, where only one of them is: NAME=VALUE, a build's or a dependency's name."""
    if not any(isinstance(one, Lines) for one in said):
        return said
    return tuple(_long(key, one) for one in said)


def _long(key: str, said: Any) -> Any:
    long = Lines()
    if key == "build" and isinstance(said, str):
        long["context"] = said
    elif key in _PAIRS and isinstance(said, Listing):
        for one, line in zip(said, said.lines, strict=True):
            name, equals, value = str(one or "").partition("=")
            long[name] = value if equals else None
            long.lines[name] = line
    elif key == "depends_on" and isinstance(said, Listing):
        long.update({str(one): Lines() for one in said})
    else:
        return said
    long.lines = {one: long.lines.get(one, 1) for one in long}
    return long


def _joined(there: Listing, here: Listing) -> Listing:
    joined = Listing()
    joined.extend([*there, *here])
    joined.lines = [*there.lines, *here.lines]
    return joined


def _is_active(raw: Lines, active: Set[str], keys: Keys, notebook: Notebook) -> bool:
    said = raw.get("profiles")
    profiles = said if isinstance(said, Listing) else [said] if said else []
    if not profiles or active & {str(one) for one in profiles}:
        return True
    named = ", ".join(str(one)[:40] for one in profiles)
    notebook.leave_out(
        keys, f"is left out: it has the profile {named}, which COMPOSE_PROFILES in .env would start"
    )
    return False


def _interpolated(value: Any, keys: Keys, values: Mapping[str, str], notebook: Notebook) -> Any:
    """With all variables filled in. Only in `environment` one may be missing: that may be a secret."""
    if isinstance(value, Lines):
        copy = Lines()
        copy.lines = value.lines
        copy.update({key: _interpolated(one, (*keys, key), values, notebook) for key, one in value.items()})
        return copy
    if isinstance(value, Listing):
        return [_interpolated(one, (*keys, index), values, notebook) for index, one in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value
    try:
        text = text_of(filled(value, values))
    except Uninterpolated as error:
        notebook.refuse(keys, str(error))
        return ""
    if isinstance(text, str) or keys[2:3] == ("environment",):
        return text
    if is_unread(str(keys[2])):
        return "".join(part for part in text.parts if isinstance(part, str))
    missing = text.missing[0]
    said = f" ({missing.told})" if missing.told else ""
    notebook.refuse(
        keys, f"{missing.name} has no value{said}: write ${{{missing.name}:-VALUE}}, or put it into .env"
    )
    return ""


def _with_env_files(
    service: Service,
    keys: Keys,
    files: Mapping[str, Mapping[str, str]],
    asked: Collection[str],
    values: Mapping[str, str],
    notebook: Notebook,
) -> Service:
    """Its variables, and those of the files that it names: what it says itself goes before."""
    given: dict[str, Any] = {}
    # Of a file that is named twice the last place counts.
    named = {_relative(one.path): one for one in reversed(service.env_file)}
    for path, one in reversed(named.items()):
        if path in files:
            given |= files[path]
        elif path not in asked and ".." not in path.split("/"):
            notebook.refuse(
                (*keys, "env_file"),
                f"{path} is not read: at most {_MOST_ENV_FILES} such files are, .env among them, each by"
                " a name that nothing in .env changes",
            )
        elif one.required:
            notebook.refuse(
                (*keys, "env_file"),
                f"there is no file {path} in the repository. If it is kept out of it for its secrets, write"
                f" {{path: {path}, required: false}}, name them in `environment` without a value, and give"
                " them by `blacktree secret set OWNER/REPO NAME`",
            )
    for name, value in service.environment.items():
        given[name] = values.get(name) if value is None else value
    return service.model_copy(update={"environment": given})


def _relative(path: str) -> str:
    return path.removeprefix("./")
