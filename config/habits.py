"""What people write by habit where a list or a mapping is meant."""

from __future__ import annotations

import json
import re
import shlex
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator

SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_SHELL = re.compile(r"[|&;<>()$`*?~#\n]|\A\s*\w+=")
_MOST_QUOTED = 80


def _listed(value: Any) -> Any:
    """Nothing is an empty list, and one text or mapping a list of one."""
    if value is None:
        return []
    return [value] if isinstance(value, str | dict) else value


def _mapped(value: Any) -> Any:
    return {} if value is None else value


def split_command(value: Any) -> Any:
    """A command on one line, split at spaces and quotes. Raises ValueError for what only a shell reads."""
    if not isinstance(value, str):
        return value
    if _SHELL.search(value):
        said = json.dumps(value[:_MOST_QUOTED], ensure_ascii=False)
        raise ValueError(f"no shell reads it: write a list, such as [sh, -c, {said}]")
    try:
        return shlex.split(value)
    except ValueError:
        raise ValueError("has a quote that is not closed: write a list, such as [npm, test]") from None


Item = TypeVar("Item")
Key = TypeVar("Key")
Listed = Annotated[list[Item], BeforeValidator(_listed)]
Mapped = Annotated[dict[Key, Item], BeforeValidator(_mapped)]
