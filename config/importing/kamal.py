"""Kamal's `config/deploy.yml` ▸ a `.blacktree.yml`, as far as it goes: https://kamal-deploy.org/docs/configuration/"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from config.errors import ConfigError
from config.faults import Keys
from config.importing.compose_values import command, mount, name, size
from config.importing.found import Found, Notebook
from config.processes import PREVIEW, WEB
from config.yaml import FILE, load

_APP_PORT = 80  # https://kamal-deploy.org/docs/configuration/proxy/
_LEFT_OUT = {
    "aliases": "commands are run by `/deploy` and its like, or by `docker exec` on the worker",
    "allow_empty_roles": "is needless here",
    "asset_path": "an old release serves its own assets while it drains: see `drain`",
    "boot": "all processes of a release go live together",
    "error_pages_path": "pages for what does not answer are the instance's",
    "hooks_path": "put what they do into `release_command` or the image's `test`",
    "logging": "is the engine's of each worker",
    "primary_role": "visitors reach `web`",
    "registry": "is the instance's setting REGISTRY, with a login of its own",
    "secrets_path": "secrets are given by `blacktree secret set OWNER/REPO NAME`",
    "ssh": "workers are reached by nobody: they ask for jobs",
    "sshkit": "workers are reached by nobody: they ask for jobs",
    "minimum_version": "is Kamal's own",
    "labels": "are not carried over",
    "accessories": "",
}
_READ = {
    "service",
    "image",
    "servers",
    "proxy",
    "builder",
    "env",
    "volumes",
    "accessories",
    "retain_containers",
}
_READ |= {"deploy_timeout", "drain_timeout", "stop_wait_time", "readiness_delay", "require_destination"}


def found(file: str, text: str) -> Found:
    """What it means. Raises ConfigError where it can't be read."""
    try:
        data = load(text)
    except ConfigError as error:
        hint = "; ERB (<%= … %>) is not run: write its value" if "<%" in text else ""
        raise ConfigError(f"{str(error).replace(FILE, file, 1)}{hint}") from None
    if not isinstance(data, Mapping) or not {"service", "image"} <= {*data}:
        raise ConfigError(f"{file}: must be a mapping with `service` and `image`, as Kamal has it")
    notebook = Notebook(data)
    for key in data:
        if key not in _READ and not key.startswith("x-"):
            notebook.leave_out((key,), f"is left out: {_LEFT_OUT.get(key, 'is not known here')}")
    production = _place(data, notebook)
    preview = {key: value for key, value in production.items() if key != "domain"}
    images = {"app": _image(_mapping(data, "builder"), notebook)}
    environments = {"production": production, PREVIEW: preview}
    return Found(file, {"images": images, "environments": environments}, notebook.notes)


def _place(data: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    proxy = _mapping(data, "proxy")
    clear, secret = _env(data, ("env",), notebook)
    place: dict[str, Any] = {}
    hosts = [*_list(proxy.get("host")), *_list(proxy.get("hosts"))]
    hosts = [host for one in hosts for host in str(one).split(",")]
    if hosts:
        place["domain"] = hosts[0].strip()
    for extra in hosts[1:]:
        notebook.leave_out(
            ("proxy", "hosts"), f"an environment has one host name: {extra.strip()} is left out"
        )
    place |= {"port": int(proxy.get("app_port") or _APP_PORT), "health": _health(data, proxy)}
    place |= {"env": clear} if clear else {}
    place |= {"secrets": secret} if secret else {}
    numbers = {"keep": "retain_containers", "drain": "drain_timeout", "grace": "stop_wait_time"}
    place |= {
        ours: int(data[theirs]) for ours, theirs in numbers.items() if str(data.get(theirs)).isdecimal()
    }
    if volumes := _volumes(data.get("volumes"), ("volumes",), notebook):
        place["volumes"] = volumes
    if processes := _processes(data, notebook):
        place["processes"] = processes
    if services := _services(data, notebook):
        place["services"] = services
    return place


def _health(data: Mapping[str, Any], proxy: Mapping[str, Any]) -> dict[str, Any]:
    check = _mapping(proxy, "healthcheck")
    found: dict[str, Any] = {"path": str(check.get("path") or "/up")}
    if str(data.get("deploy_timeout")).isdecimal():
        found["timeout"] = int(data["deploy_timeout"])
    return found


def _image(builder: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    found = {
        "context": posixpath.normpath(str(builder.get("context") or ".")),
        "dockerfile": posixpath.normpath(str(builder.get("dockerfile") or "Dockerfile")),
        "target": builder.get("target"),
        "args": {key: value for key, value in _mapping(builder, "args").items() if value is not None},
        "platforms": [f"linux/{one}" for one in _list(builder.get("arch"))],
        "secrets": _list(builder.get("secrets")),
    }
    if builder.get("ssh"):
        notebook.leave_out(
            ("builder", "ssh"), "write `ssh: NAME` of the image, with the secret that holds the key"
        )
    for key in ("remote", "local", "driver", "pack", "cache", "context_hash", "provenance", "sbom"):
        if key in builder:
            notebook.leave_out(("builder", key), "is left out: workers build as they are set up")
    usual = {"context": ".", "dockerfile": "Dockerfile"}
    return {key: value for key, value in found.items() if value and usual.get(key) != value}


def _processes(data: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    """Roles; one that is alone and says nothing is the environment itself."""
    servers = data.get("servers")
    if not isinstance(servers, Mapping):
        if servers:
            notebook.leave_out(("servers",), "workers ask for jobs: `pool` and `runs_on` choose among them")
        return {}
    notebook.leave_out(("servers",), "workers ask for jobs: `pool` and `runs_on` choose among them")
    found: dict[str, Any] = {}
    for role, said in servers.items():
        keys, one = ("servers", role), said if isinstance(said, Mapping) else {}
        process: dict[str, Any] = {}
        if argv := command(one.get("cmd")):
            process["command"] = argv
        clear, secret = _env(one, (*keys, "env"), notebook)
        process |= {"env": clear} if clear else {}
        if secret:
            notebook.leave_out(
                (*keys, "env", "secret"), "secrets are the whole environment's: add them to `secrets`"
            )
        process |= {"limits": limits} if (limits := _limits(_mapping(one, "options"), keys, notebook)) else {}
        found[WEB if role == WEB else name(role)] = process
    return {} if found == {WEB: {}} else found


def _limits(options: Mapping[str, Any], keys: Keys, notebook: Notebook) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in options.items():
        try:
            if key == "memory":
                found["memory"] = size(value)
            elif key == "cpus":
                found["cpus"] = float(value)
            else:
                notebook.leave_out((*keys, "options", key), "is left out: Docker's options are not handed on")
        except ValueError as error:
            notebook.leave_out((*keys, "options", key), str(error))
    return found


def _services(data: Mapping[str, Any], notebook: Notebook) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _mapping(data, "accessories").items():
        keys, one = ("accessories", key), value if isinstance(value, Mapping) else {}
        if not one.get("image"):
            notebook.leave_out(keys, "has no image: it is left out")
            continue
        clear, secret = _env(one, (*keys, "env"), notebook)
        volumes = _volumes([*_list(one.get("directories")), *_list(one.get("volumes"))], keys, notebook)
        service = {
            "image": one["image"],
            "command": command(one.get("cmd")),
            "env": clear,
            "generate": secret,
        }
        found[name(key)] = {key: value for key, value in (service | {"volumes": volumes}).items() if value}
        notebook.leave_out(
            keys, f"is reached as {name(key)}, not as {data['service']}-{key}; its data is not moved"
        )
        if secret:
            said = (
                "are made anew: name what the app needs of them in `provides`, and load the old data's dump"
            )
            notebook.leave_out((*keys, "env", "secret"), f"{', '.join(secret)} {said}")
        for left in ("port", "files", "proxy", "options", "roles", "hosts", "host", "labels"):
            if left in one:
                notebook.leave_out((*keys, left), _ACCESSORY.get(left, "is left out"))
    return found


_ACCESSORY = {
    "port": "no port is opened on a host: the app reaches it by its name",
    "files": "no file is mounted: build an image that has them",
    "proxy": "visitors reach what is built only",
    "host": "it runs on the worker that has its environment",
    "hosts": "it runs on the worker that has its environment",
    "roles": "it runs on the worker that has its environment",
}


def _env(data: Mapping[str, Any], keys: Keys, notebook: Notebook) -> tuple[dict[str, str], list[str]]:
    """What is clear, and the names of what is secret."""
    said = _mapping(data, "env")
    clear = _mapping(said, "clear") if {"clear", "secret"} & {*said} else said
    values = {key: str(value) for key, value in clear.items() if isinstance(value, str)}
    for key in [key for key, value in values.items() if "<%" in value]:
        notebook.leave_out((*keys, key), "ERB is not run: write the value")
        del values[key]
    secret = []
    for one in map(str, _list(said.get("secret"))):
        variable, _, other = one.partition(":")
        if other:
            notebook.leave_out((*keys, "secret"), f"{variable} is the secret {variable} here, not {other}")
        secret.append(variable)
    return values, secret


def _volumes(said: Any, keys: Keys, notebook: Notebook) -> dict[str, str]:
    found = {}
    for one in _list(said):
        try:
            each = mount(one)
        except ValueError as error:
            notebook.leave_out(keys, f"{one} {error}")
            continue
        if each.kind == "volume":
            found[name(each.source)] = each.target
        else:
            notebook.leave_out(
                keys, f"{each.source} of a host is not mounted: name a volume for {each.target}"
            )
    return found


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]
