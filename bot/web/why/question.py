"""Pure: what somebody asks about, read from what was typed or pasted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

_REPOSITORY = r"(?P<repository>[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})"
_SHA = r"(?P<sha>[0-9a-fA-F]{7,64})"
_MOST = 9  # digits of a number
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"(?P<job>\d{{1,{_MOST}}}-\d{{1,6}})",
        r"(?P<run>\d{1,6})",  # a longer one may be a commit's beginning: subject.py looks for both
        rf"(?:{_REPOSITORY})?#(?P<pull>\d{{1,{_MOST}}})",
        rf"{_REPOSITORY}@{_SHA}",
        _SHA,
        rf"{_REPOSITORY}@(?P<branch>[^\s]{{1,200}})",
    )
)
# Addresses: GitHub's, and our own pages'.
_PATHS = tuple(
    re.compile(form)
    for form in (
        rf"/{_REPOSITORY}/commit/{_SHA}(?:/.*)?",
        rf"/{_REPOSITORY}/pull/(?P<pull>\d{{1,{_MOST}}})(?:/.*)?",
        rf"/{_REPOSITORY}/tree/(?P<branch>.{{1,200}})",
        rf"/runs/(?P<run>\d{{1,{_MOST}}})",
        rf"/jobs/(?P<job>\d{{1,{_MOST}}}-\d{{1,6}})(?:/.*)?",
        r"/deliveries/(?P<delivery>[A-Za-z0-9-]{1,100})",
        rf"/environments/(?P<environment>\d{{1,{_MOST}}})",
    )
)


@dataclass(frozen=True)
class Question:
    """What is asked about: one of these, and the repository where that is known."""

    repository: str = ""
    sha: str = ""
    pull: int | None = None
    branch: str = ""
    run: int | None = None
    job: str = ""
    delivery: str = ""
    environment: int | None = None


def read(asked: str, repository: str = "") -> Question | None:
    """What was meant; None for what means nothing. A word that is nothing else is a branch."""
    text = asked.strip()
    if "://" in text:
        found = _first(_PATHS, re.sub(r"^.*?(?=/(?:runs|jobs|deliveries|environments)/)", "", path(text)))
        return found or _first(_PATHS, path(text))
    known = _first(_FORMS, text)
    if known is None:
        plain = 0 < len(text) <= 200 and text.isprintable() and not re.search(r"[\s~^:?*\[\\#]", text)
        known = Question(branch=text) if plain else None
    if known is not None and (known.sha or known.branch or known.pull) and not known.repository:
        return Question(**{**vars(known), "repository": repository})
    return known


def path(url: str) -> str:
    """The path of an address."""
    try:
        return unquote(urlsplit(url).path)
    except ValueError:
        return ""


def _first(forms: tuple[re.Pattern[str], ...], text: str) -> Question | None:
    for form in forms:
        if found := form.fullmatch(text):
            told = {name: value for name, value in found.groupdict().items() if value is not None}
            numbers = {name: int(told[name]) for name in ("pull", "run", "environment") if name in told}
            words = {name: value for name, value in told.items() if name not in numbers}
            if "sha" in words:
                words["sha"] = words["sha"].lower()
            return Question(**words, **numbers)  # type: ignore[arg-type]
    return None
