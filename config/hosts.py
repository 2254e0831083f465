"""Pure: host names of environments: what a template gives, and whose a name is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from config.errors import ConfigError

_NOT_IN_HOST = re.compile(r"[^a-z0-9-]+")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
_PART = re.compile(r"\{([a-z_]*)\}")
_VALUE = re.compile(r"[a-z0-9-]*")
_PREVIEW = re.compile(r"pr-[0-9]+")
# https://url.spec.whatwg.org/#ends-in-a-number-checker: what browsers take for an IPv4 address.
_ADDRESS = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)")
# https://www.rfc-editor.org/rfc/rfc6761#section-6.3, and what Linux' own hosts files have.
_LOCAL = re.compile(r"(.*\.|ip6-)?(localhost|localdomain)[46]?")
# https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
_MOST_LABEL = 63
_MOST_NAME = 253
_HASH = 8


@dataclass(frozen=True)
class Claimant:
    """An environment of a repository, as one that has a host name or wants it."""

    repository: str  # OWNER/NAME
    environment: str
    branch: str = field(default="", compare=False)

    @property
    def parts(self) -> dict[str, str]:
        """What a template's parts stand for."""
        owner, _, name = self.repository.partition("/")
        pull = self.environment.removeprefix("pr-") if _PREVIEW.fullmatch(self.environment) else ""
        return {
            "environment": self.environment,
            "repository": name,
            "owner": owner,
            "branch": self.branch,
            "pr": pull,
        }


@dataclass(frozen=True)
class Rules:
    """Whose names are: `domain` makes each environment's own, `owners` are the suffixes of all others.

    Without owners any repository may have any other name that nobody has.
    """

    domain: str = ""
    owners: Sequence[tuple[str, str]] = ()  # a suffix, and a pattern of OWNER/NAME

    def refusal(self, name: str, claimant: Claimant, known: Iterable[Claimant] = ()) -> str | None:
        """Why a claimant must not have a name, for people; None if it may. `known` are other claimants."""
        if self.domain and name == _made(self.domain, claimant):
            return None
        readings = list(_readings(self.domain, name)) if self.domain else []
        mine = [reading for reading in readings if _same(reading, claimant, "repository", "owner")]
        if len(mine) < len(readings):
            return f"the host name {name} is one that DOMAIN makes for another repository"
        for other in known:
            if other != claimant and any(_is_of(reading, other) for reading in mine):
                return f"the host name {name} is the one that DOMAIN makes for {other.environment}"
        if any(_is_a_previews(reading) for reading in mine):
            return f"the host name {name} is one that DOMAIN makes for a pull request's preview"
        if any("repository" in reading for reading in mine):
            return None  # an environment of that name would have it
        if _ADDRESS.fullmatch(name) or _LOCAL.fullmatch(name):
            return f"{name} is an address or a machine's name for itself: choose a host name"
        if self.owners and not self._owns(claimant.repository, name):
            return (
                f"the host name {name} is not given to {claimant.repository}: DOMAIN_OWNERS says whose it is"
            )
        return None

    def _owns(self, repository: str, name: str) -> bool:
        """Whether the longest suffix that a name has is given to a repository."""
        having = [one for one in self.owners if name == one[0] or name.endswith(f".{one[0]}")]
        longest = max((len(suffix) for suffix, _ in having), default=0)
        patterns = [pattern for suffix, pattern in having if len(suffix) == longest]
        return any(fnmatchcase(repository.casefold(), pattern.casefold()) for pattern in patterns)


def owners(text: str) -> list[tuple[str, str]]:
    """Suffixes and the patterns of who has them, from SUFFIX=OWNER/NAME by commas. Raises ValueError."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        suffix, _, pattern = (side.strip() for side in part.partition("="))
        labels = suffix.lower().strip(".").split(".")
        owner, _, name = pattern.partition("/")
        if not all(map(_LABEL.fullmatch, labels)) or not owner or not name or "/" in name:
            raise ValueError(f"{part}: must be SUFFIX=OWNER/NAME, such as acme.com=acme/*")
        found.append((".".join(labels), pattern))
    return found


def host_name(template: str, parts: Mapping[str, str]) -> str:
    """A host name from a template. Raises ConfigError on one that gives none."""

    def part(found: re.Match[str]) -> str:
        if found[1] not in parts:
            raise ConfigError(f"DOMAIN: {template!r}: unknown part {found[1]!r}")
        return _label(parts[found[1]])

    name = _PART.sub(part, template).lower().rstrip(".")
    labels = [_fitted(label) for label in name.split(".")]
    if not all(map(_LABEL.fullmatch, labels)) or len(".".join(labels)) > _MOST_NAME:
        raise ConfigError(f"DOMAIN: {template!r} gives no host name here, but {name!r}")
    return ".".join(labels)


def _made(template: str, claimant: Claimant) -> str | None:
    try:
        return host_name(template, claimant.parts)
    except ConfigError:
        return None


def _label(text: str) -> str:
    return _NOT_IN_HOST.sub("-", text.lower()).strip("-")


def _fitted(label: str) -> str:
    """A label as DNS takes it; one that had to be cut stays one of a kind."""
    if len(label) <= _MOST_LABEL:
        return label
    unique = hashlib.sha256(label.encode()).hexdigest()[:_HASH]
    return f"{label[: _MOST_LABEL - _HASH - 1].rstrip('-')}-{unique}"


def _readings(template: str, name: str) -> Iterator[dict[str, str]]:
    """Every way in which a template gives a name: what its parts stand for then."""
    yield from _read(_PART.split(template.rstrip(".")), name)


def _read(pieces: Sequence[str], name: str) -> Iterator[dict[str, str]]:
    """Of a template that is split into a literal, a part, a literal and so on."""
    literal, rest = pieces[0].lower(), pieces[1:]
    if not name.startswith(literal):
        return
    name = name[len(literal) :]
    if not rest:
        if not name:
            yield {}
        return
    part = rest[0]
    longest = _VALUE.match(name)
    for end in range(len(longest[0]) + 1 if longest else 0):
        for more in _read(rest[1:], name[end:]):
            if more.get(part, name[:end]) == name[:end]:
                yield {**more, part: name[:end]}


def _same(reading: Mapping[str, str], claimant: Claimant, *names: str) -> bool:
    """Whether these parts, where the template has them, are what they are for a claimant."""
    return all(reading[name] == _fitted(_label(claimant.parts[name])) for name in names if name in reading)


def _is_of(reading: Mapping[str, str], claimant: Claimant) -> bool:
    tells = "environment" in reading or "pr" in reading
    return tells and _same(reading, claimant, "repository", "owner", "environment", "pr")


def _is_a_previews(reading: Mapping[str, str]) -> bool:
    return bool(_PREVIEW.fullmatch(reading.get("environment", "")) or reading.get("pr", "").isdecimal())
