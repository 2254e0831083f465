"""Where settings come from: environment (prefix `BLACKTREE_`) over a TOML file over defaults.

The environment wins over the file. Every name may end in `_FILE` in the environment: its value is then
read from that file, without newlines at its end, which is how Docker and systemd hand out secrets.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.errors import ConfigError, nearest, sentences
from config.settings import Settings

PREFIX = "BLACKTREE_"
# Names that are read before the model is: where the TOML file is.
_BOOTSTRAP = {"CONFIG"}
DEFAULT_FILES = (Path("blacktree.toml"), Path("/etc/blacktree/blacktree.toml"))


def load(environ: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """The settings from `environ` and from `file` (or `BLACKTREE_CONFIG`, or a default place).

    Raises ConfigError with one line for each setting that is unknown or bad.
    """
    path = file or (Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None)
    from_file = _from_file(path or next((place for place in DEFAULT_FILES if place.is_file()), None))
    from_environment, places = _from_environment(environ)
    places = {name: f"{path or 'the TOML file'}: {name}" for name in from_file} | places
    try:
        settings = Settings(**{**from_file, **from_environment})
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, places))) from None
    given = from_file.keys() | from_environment.keys()
    settings.sources.update({name: place for name, place in places.items() if name in given})
    return settings


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not TOML: it is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line \d+", str(error))
        where = f" in {line[0]}" if line else ""
        raise ConfigError(f'{path}: is not TOML{where}: write NAME = VALUE, texts as "TEXT"') from None


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    for variable, given in environ.items():
        key = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or key in _BOOTSTRAP or key.startswith("TEST_"):
            continue
        name = key.removesuffix("_FILE").lower()
        places[name] = variable
        value = given.strip("\r\n")  # as env files of Windows leave them
        if not value:
            continue
        if name in values:
            raise ConfigError(
                f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set: remove one"
            )
        values[name] = _read(variable, value) if key.endswith("_FILE") else value
    return values, places


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig").strip("\r\n")
    except OSError as error:
        raise ConfigError(f"{variable}: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{variable}: {path} cannot be read: it is not UTF-8") from None
    except ValueError:
        raise ConfigError(f"{variable}: must be a file's path, and is none") from None


def _complaints(error: ValidationError, places: Mapping[str, str]) -> list[str]:
    lines = []
    for where, sentence in sentences(error):
        name = str(where[0]) if where else ""
        place = places.get(name, PREFIX + name.upper() if name else "settings")
        unknown = name and name not in Settings.model_fields
        wrong = f"there is no such setting.{nearest(name, Settings.model_fields)}" if unknown else sentence
        lines.append(f"{place}: {wrong}")
    return lines
