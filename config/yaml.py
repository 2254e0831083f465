"""From YAML that anybody may have written to a model, or to faults with line, key and the nearest key."""

from __future__ import annotations

import io
import re
import types
from collections.abc import Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from config.errors import ConfigError, nearest, sentences

FILE = ".blacktree.yml"
MOST_BYTES = 65_536
_MOST_BRACKETS = 2000  # nested ones take a parser seconds
_MOST_ALIASES = 500  # each may merge a whole mapping
_MOST_CHARACTERS = 4 * MOST_BYTES  # once all aliases stand for what they name
_MOST_FAULTS = 50
_ALIAS = re.compile(r"(?:^|[\s\[\]{},:?-])\*[^\s*]")
_ANCHORS = "x-"  # top-level keys that hold anchors, and are nothing else

Model = TypeVar("Model", bound=BaseModel)
Keys = Sequence[str | int]


def read(text: str, model: type[Model]) -> Model:
    """The model that `text` describes. Raises ConfigError with one line for each fault."""
    data = load(text)
    if data is None:
        return model()
    if not isinstance(data, dict):
        raise ConfigError(f"{FILE}:1: must be a mapping with the keys {', '.join(model.model_fields)}")
    known = {key: data[key] for key in data if not (isinstance(key, str) and key.startswith(_ANCHORS))}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise ConfigError("\n".join(_faults(data, error, model))) from None


def load(text: str) -> Any:
    """What the YAML holds, with its lines. Raises ConfigError if it is none, or made to exhaust us."""
    if len(text.encode(errors="surrogatepass")) > MOST_BYTES:
        raise ConfigError(f"{FILE}: is over {MOST_BYTES} bytes")
    if text.count("[") + text.count("{") > _MOST_BRACKETS:
        raise ConfigError(f"{FILE}: has over {_MOST_BRACKETS} brackets")
    if len(_ALIAS.findall(text)) > _MOST_ALIASES:
        raise ConfigError(f"{FILE}: has over {_MOST_ALIASES} aliases")
    try:
        data = YAML(typ="rt").load(io.StringIO(text))
        small = _size(data, {}) <= _MOST_CHARACTERS
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        # A scalar that it quotes may have line breaks, and each line here is a fault.
        problem = " ".join(str(getattr(error, "problem", None) or "unreadable").split())
        raise ConfigError(f"{FILE}{line}: is not YAML: {problem}") from None
    except RecursionError:
        raise ConfigError(f"{FILE}: is nested too deeply") from None
    except Exception as error:  # the parser's own slips on what nobody writes
        raise ConfigError(f"{FILE}: is not YAML: unreadable ({type(error).__name__})") from None
    if not small:
        raise ConfigError(f"{FILE}: its aliases stand for over {_MOST_CHARACTERS} characters")
    return data


def line_of(data: Any, keys: Keys) -> int | None:
    """The line (from 1) of the deepest of `keys` that the file has."""
    line = None
    for key in keys:
        try:
            line = (data.lc.key(key) if key in data else data.lc.item(key))[0] + 1
            data = data[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line


def fault(data: Any, keys: Keys, sentence: str) -> str:
    """One fault as people read it."""
    line = line_of(data, keys)
    name = " ".join(".".join(map(str, keys)).split()) or "file"
    return f"{FILE}{f':{line}' if line else ''}: {name[:200]}: {' '.join(sentence.split())}"


def _size(data: Any, sizes: dict[int, float]) -> float:
    """How many characters and values `data` is with its aliases written out; endless if it holds itself."""
    if not isinstance(data, dict | list | set):
        return len(data) + 1 if isinstance(data, str | bytes) else 1
    if id(data) not in sizes:
        sizes[id(data)] = float("inf")
        parts = [*data.keys(), *data.values()] if isinstance(data, dict) else list(data)
        sizes[id(data)] = 1 + sum(_size(part, sizes) for part in parts)
    return sizes[id(data)]


def _faults(data: Any, error: ValidationError, model: type[BaseModel]) -> list[str]:
    told = []
    for where, said in sentences(error):
        keys = [part for part in where if part != "[key]"]
        sentence = said
        if said == "Extra inputs are not permitted":
            sentence = f"there is no such key.{nearest(str(keys[-1]), _known(model, keys[:-1]))}"
        told.append(fault(data, keys, sentence))
    if len(told) > _MOST_FAULTS:
        told[_MOST_FAULTS:] = [f"{FILE}: and {len(told) - _MOST_FAULTS} more faults"]
    return told


def _known(kind: Any, keys: Keys) -> list[str]:
    """The valid keys of the part at `keys`, as the models have it."""
    for key in keys:
        kind = _inner(kind)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if key not in kind.model_fields:
                return []
            kind = kind.model_fields[str(key)].annotation
        else:
            kind = (get_args(kind) or (None,))[-1]  # what a list or a mapping has in it
    kind = _inner(kind)
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def _inner(kind: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next((part for part in get_args(kind) if part is not type(None)), None)
    return kind
