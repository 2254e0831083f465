"""Pure: a `.env` file's variables, as Compose reads them.

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax
"""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping

from config.importing.interpolation import Uninterpolated, filled

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.]*)[ \t]*[=:][ \t]*
    (?: '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<bare>[^\r\n]*) )""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def variables(text: str, known: Mapping[str, str] | None = None) -> dict[str, str]:
    """By name. What is not in single quotes may refer to earlier ones, and to `known`."""
    found: dict[str, str] = {}
    values = ChainMap(found, dict(known or {}))
    for match in _LINE.finditer(text):
        if match["single"] is not None:
            found[match["name"]] = match["single"]
            continue
        value = match["double"]
        value = (
            _bare(match["bare"]) if value is None else re.sub(r"\\(.)", _unescaped, value, flags=re.DOTALL)
        )
        found[match["name"]] = _filled(value, values)
    return found


def _bare(value: str) -> str:
    return re.split(r"(?:^|[ \t])#", value, maxsplit=1)[0].strip()


def _unescaped(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[1], found[1] if found[1] in "\\\"'" else found[0])


def _filled(value: str, values: Mapping[str, str]) -> str:
    """A variable that nobody knows is empty here, as with Compose; what is no reference stays as it is."""
    try:
        return "".join(part for part in filled(value, values) if isinstance(part, str))
    except Uninterpolated:
        return value
