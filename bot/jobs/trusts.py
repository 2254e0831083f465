"""Pure: builds of different trust share nothing. Whose build a job is, and what its images are called.

A build has the trust of its repository's own refs, of its pull requests and merge queues, of one pull
request's head for one named environment that somebody deploys it to (with whose secrets it is built), or of
one pull request of a fork. No two repositories and no two trusts ever have a name in common, so no tag of one
is moved, and no image of one is taken, by another. What was deployed under names of before keeps them: a
release has its whole reference.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from dataclasses import dataclass

from bot.store.tables import Job, Repository, Run
from config.registries import DOCKER_HUB, identity, split
from config.repository import QUEUE
from config.settings import Settings

TRUSTED, PULLS = "", "pulls"

_LOCAL = "blacktree"  # what names start with where there is no registry
# What every registry takes of a part of a name: Amazon's knows no doubled separators, Docker Hub no dots.
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html
_PART = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")
_HUB_PART = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_QUEUE = f"refs/heads/{QUEUE}"  # what is not merged yet
_IMAGE = "[a-z0-9-]+"  # as .blacktree.yml names images


def of(run: Run, job: Job) -> str:
    """The trust that a build of a run has."""
    if run.fork:
        return f"fork-{run.pull_number}"
    if job.spec.get("preview") or run.ref.startswith(_QUEUE):
        return PULLS
    if not run.ref.startswith("refs/pull/"):
        return TRUSTED
    return f"heads-{_leaf(job.spec.get('environment') or 'any')}-{run.ref.split('/')[2]}"


def reference(repository: Repository, image: str | None, registry: str, trust: str = TRUSTED) -> str:
    """An image's name without a tag. `image` is None where the repository has only one.

    A trust is set off by what no image's name has, and an image by what no repository's has.
    """
    stem = _stem(repository.full_name, registry)
    named = _leaf(image) if image else image
    leaf = f"{named or 'app'}_{trust}" if trust else named
    return f"{stem.text}{stem.separator}{leaf}" if leaf else stem.text


@dataclass(frozen=True)
class _Stem:
    text: str
    separator: str


def _stem(full_name: str, registry: str) -> _Stem:
    """What the names of a repository's images start with."""
    prefix, full_name = registry.lower() or _LOCAL, full_name.lower()
    owner, name = full_name.split("/")
    unique = hashlib.sha256(full_name.encode()).hexdigest()
    if registry and split(registry)[0] == DOCKER_HUB:  # which has no further folders
        plain = _HUB_PART.fullmatch(owner) and _HUB_PART.fullmatch(name)
        # An owner's name has at most 39 characters.
        return _Stem(f"{prefix}/{f'{owner}_{name}' if plain else f'{unique[:40]}_{_plain(name)}'}", "_")
    if _PART.fullmatch(owner) and _PART.fullmatch(name):
        return _Stem(f"{prefix}/{full_name}", "/")
    return _Stem(f"{prefix}/{_plain(owner)}.odd/{_plain(name)}-{unique[:16]}", "/")  # no owner's has a dot


def _leaf(image: str) -> str:
    """Within its repository, where nobody else has a name."""
    if _HUB_PART.fullmatch(image):
        return image
    return f"{_plain(image)}-{hashlib.sha256(image.encode()).hexdigest()[:16]}"


def _plain(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name)) or "x"


@dataclass(frozen=True)
class Bases:
    """Which of this instance's images a build may start from; patterns match HOST/PATH as a whole."""

    reserved: list[str]  # HOST/PREFIX
    permitted: list[str]
    shared: list[str]


def bases(repository: Repository, trust: str, settings: Settings) -> Bases:
    """Its repository's trusted ones, and those of its own trust; for a fork none at all.

    Of names of before nobody knows whose they were: two prefixes of two times may lie one below the other.
    """
    former = filter(None, settings.former_registries.split(","))
    prefixes = [_LOCAL, *settings.registries]
    permitted = [
        pattern
        for prefix in prefixes
        if not trust.startswith("fork-")
        for pattern in _own(_stem(repository.full_name, "" if prefix == _LOCAL else prefix), trust)
    ]
    shared = (part.strip() for part in settings.shared_images.split(","))
    return Bases(
        reserved=[identity(prefix) for prefix in (*prefixes, *former)],
        permitted=permitted,
        shared=[fnmatch.translate(identity(part.lower())) for part in shared if part],
    )


def _own(stem: _Stem, trust: str) -> list[str]:
    text = re.escape(identity(stem.text))
    trusted = f"{text}({stem.separator}{_IMAGE})?"
    return [trusted] if trust == TRUSTED else [trusted, f"{text}{stem.separator}{_IMAGE}_{re.escape(trust)}"]
