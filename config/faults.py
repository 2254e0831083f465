"""From what a YAML file holds to a model, or to faults with line, key and the nearest key."""

from __future__ import annotations

import types
from collections.abc import Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from config.errors import UNKNOWN_KEY, ConfigError, nearest, sentences
from config.yaml import FILE, Listing, Mapping, load

_MOST_FAULTS = 50
_MOST_KEY = 200
_ANCHORS = "x-"  # top-level keys that hold anchors, and are nothing else

Model = TypeVar("Model", bound=BaseModel)
Keys = Sequence[str | int]


def read(text: str, model: type[Model]) -> Model:
    """The model that `text` describes. Raises ConfigError with one line for each fault."""
    data = load(text)
    if data is None:
        return model()
    if not isinstance(data, Mapping):
        raise ConfigError(f"{FILE}:1: must be a mapping with the keys {', '.join(model.model_fields)}")
    known = {key: data[key] for key in data if not key.startswith(_ANCHORS)}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        raise ConfigError("\n".join(_faults(data, error, model))) from None


def line_of(data: Any, keys: Keys) -> int | None:
    """The line (from 1) of the deepest of `keys` that the file has."""
    line = None
    for key in keys:
        if isinstance(data, Mapping) and key in data:
            line, data = data.lines[str(key)], data[str(key)]
        elif isinstance(data, Listing) and isinstance(key, int) and key < len(data):
            line, data = data.lines[key], data[key]
        else:
            break
    return line


def fault(data: Any, keys: Keys, sentence: str) -> str:
    """One fault as people read it."""
    line = line_of(data, keys)
    name = " ".join(".".join(str(key)[:_MOST_KEY] for key in keys).split()) or "file"
    return f"{FILE}{f':{line}' if line else ''}: {name[:_MOST_KEY]}: {' '.join(sentence.split())}"


def _faults(data: Any, error: ValidationError, model: type[BaseModel]) -> list[str]:
    told, count = [], error.error_count()
    for where, said in sentences(error, _MOST_FAULTS):
        keys = [part for part in where if part != "[key]"]
        sentence = said
        if said == UNKNOWN_KEY:
            sentence += nearest(str(keys[-1]), _known(model, keys[:-1]))
        told.append(fault(data, keys, sentence))
    if count > _MOST_FAULTS:
        told.append(f"{FILE}: and {count - _MOST_FAULTS} more faults")
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
    fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
    return [field.alias or name for name, field in fields.items()]


def _inner(kind: Any) -> Any:
    """`X` of `X | None`."""
    if get_origin(kind) in (Union, types.UnionType):
        return next((part for part in get_args(kind) if part is not type(None)), None)
    return kind
