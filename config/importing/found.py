"""What was found in another tool's file: a `.blacktree.yml`, and what of it could not be carried over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from config.errors import ConfigError, sentences
from config.faults import Keys, line_of
from config.repository import Repository

_MOST_FAULTS = 50  # that people are told
_MOST_SAID = 600  # characters of one


@dataclass(frozen=True)
class Note:
    """Something in a file that is not done here, and what to write instead."""

    where: str  # a key: services.web.privileged
    line: int | None  # from 1
    said: str
    stops: bool = False  # without it something else would run than what the file means


@dataclass
class Found:
    """A file's meaning. `data` is what a `.blacktree.yml` would have."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    @property
    def left_out(self) -> list[str]:
        """What is not carried over, though all that the file needs to run is; one line each."""
        return [self._told(note) for note in self.notes if not note.stops]

    @property
    def faults(self) -> list[str]:
        """Why it can't be run as it is, one line each."""
        return [self._told(note) for note in self.notes if note.stops]

    def _told(self, note: Note) -> str:
        place = f"{self.file}:{note.line}" if note.line else self.file
        return f"{place}: {note.where}: {note.said}" if note.where else f"{place}: {note.said}"

    def repository(self) -> Repository:
        """The model. Raises ConfigError with one line for each fault."""
        if faults := self.faults:
            more = [f"{self.file}: and {len(faults) - _MOST_FAULTS} more faults"]
            raise ConfigError(
                "\n".join([*faults[:_MOST_FAULTS], *(more if len(faults) > _MOST_FAULTS else [])])
            )
        try:
            return Repository.model_validate(self.data)
        except ValidationError as error:
            raise ConfigError(
                "\n".join(
                    f"{self.file}: as {_printable('.'.join(map(str, where)))} of a .blacktree.yml: {said}"
                    for where, said in sentences(error, _MOST_FAULTS)
                )
            ) from None


@dataclass
class Notebook:
    """Where what is left out is written down while a file is read."""

    data: Any  # as config.yaml read it, with its lines
    _notes: dict[Note, None] = field(default_factory=dict)

    @property
    def notes(self) -> list[Note]:
        """In their order, each once."""
        return list(self._notes)

    def leave_out(self, keys: Keys, said: str) -> None:
        self._note(keys, said, stops=False)

    def refuse(self, keys: Keys, said: str) -> None:
        self._note(keys, said, stops=True)

    def _note(self, keys: Keys, said: str, *, stops: bool) -> None:
        where = _printable(".".join(str(key)[:80] for key in keys))
        self._notes.setdefault(Note(where, line_of(self.data, keys), _printable(said)[:_MOST_SAID], stops))


def _printable(text: str) -> str:
    """On one line, and nothing in it that a terminal obeys: keys and values are whoever's."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in line)
