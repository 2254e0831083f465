"""A `.blacktree.yml` for people to go on with: what was found, above it what is not carried over."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml
from pydantic import ValidationError

from config.errors import ConfigError
from config.importing.found import Found
from config.processes import PREVIEW
from config.repository import Repository, parse
from config.yaml import load

_WIDTH = 116
_SHARED = "x-environment"


class _Dumper(yaml.SafeDumper):
    """Short lists stand on one line, and nothing is an alias by chance."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _listed(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flat = all(not isinstance(one, list | dict) for one in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Dumper.add_representer(list, _listed)


def written(found: Found) -> str:
    """The file's text, which parses. Raises ConfigError where what was found is none."""
    try:
        Repository.model_validate(found.data)
    except ValidationError:
        found.repository()  # tells why, in the words of the file that was read
    text = "\n".join([*_comments(found), *_body(found.data)]) + "\n"
    parse(text)
    return text


def dumped(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True).rstrip("\n")


def _comments(found: Found) -> list[str]:
    lines = [f"# From {found.file}, by `blacktree config import`."]
    if found.faults:
        lines += ["#", "# Not carried over, and needed perhaps: look at each."]
        lines += [line for told in found.faults for line in _wrapped(told)]
    if found.left_out:
        lines += ["#", "# Left out:"]
        lines += [line for told in found.left_out for line in _wrapped(told)]
    return [*lines, ""]


def _wrapped(told: str) -> list[str]:
    return textwrap.wrap(
        told,
        _WIDTH,
        initial_indent="# - ",
        subsequent_indent="#   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _body(data: dict[str, Any]) -> list[str]:
    """What production and previews have alike is written once."""
    images, environments = data["images"], data["environments"]
    body = [] if images == {"app": {}} else [dumped({"images": images}), ""]
    place, preview = environments["production"], environments[PREVIEW]
    if not place and not preview:
        return [*body, dumped({"environments": environments})]
    if place != preview:
        return [*body, dumped({"environments": environments})]
    shared = textwrap.indent(dumped(place), "  ")
    return [
        f"{_SHARED}: &environment",
        shared,
        "",
        *body,
        "environments:",
        "  production: *environment",
        f"  {PREVIEW}: *environment",
    ]


def sniffed(name: str, text: str) -> str:
    """What kind of file it is: compose, procfile or kamal. Raises ConfigError."""
    if name.startswith("Procfile"):
        return "procfile"
    try:
        data = load(text)
    except ConfigError:  # told by who reads it
        return "kamal" if name == "deploy.yml" else "compose"
    keys = {*data} if isinstance(data, dict) else set()
    if "services" in keys:
        return "compose"
    if {"service", "image"} <= keys:
        return "kamal"
    raise ConfigError(
        f"{name}: is none of compose.yaml (`services`), a Procfile, Kamal's deploy.yml (`service`, `image`)"
    )
