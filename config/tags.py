"""Pure: the tags of an image, from templates and what its cause is called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

USUAL = ("{branch}", "{tag}", "pr-{pr}")  # templates of an image that names none

_SEMVER = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)([-+].*)?$", re.ASCII)
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md: what a tag may be spelled with.
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_MOST = 128
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_OWN = {"pr", "sha"}  # of the seven characters of {short_sha} whoever wants to finds a twin
_VERSION = re.compile(r"[vV]?\d")  # how a git tag begins that stands for itself
_NO_BRANCH = re.compile(r"[vV]?\d|(tag|branch)-|latest$")
# What a value of others may be.
_VALUES = {
    "tag": r"([vV]?\d|tag-)",  # and more
    "version": r"\d+\.\d+\.\d+",  # and more
    "major": r"\d+",
    "minor": r"\d+\.\d+",
    "sha": r"[0-9a-f]{40}",
    "short_sha": r"[0-9a-f]{7}",
    "pr": r"\d+",
}
_OPEN = {"tag", "version"}


@dataclass(frozen=True)
class Names:
    """What a commit is called: `ref` is the name of whatever led to it; `queued` is in a merge queue.

    Without `default_branch`, no branch is taken for that one.
    """

    sha: str
    ref: str
    branch: str | None = None
    tag: str | None = None
    pr: int | None = None
    queued: bool = False
    default_branch: str | None = None

    @property
    def unmerged(self) -> bool:
        return self.queued or self.pr is not None

    @property
    def aside(self) -> bool:
        """Whether it is of a branch that is not the default one."""
        return self.branch is not None and self.branch != self.default_branch


def image_tags(templates: Sequence[str], names: Names) -> list[str]:
    """The tags that the templates give, the SHA first; one whose value is missing gives none.

    What is not merged moves only tags that nothing else can have; a branch that is not the default one moves
    none that the default one, a git tag or another commit may have.
    """
    values = _values(names)
    made = [names.sha]
    for template in templates:
        wanted = set(_PLACEHOLDER.findall(template))
        if (names.unmerged and not _OWN & wanted) or any(values.get(name) is None for name in wanted):
            continue
        tag = _spelled(_PLACEHOLDER.sub(lambda part: values[part[1]] or "", template))
        if names.unmerged or not names.aside or _is_its_own(tag, wanted, templates, names):
            made.append(tag[:_MOST])
    return list(dict.fromkeys(tag for tag in made if tag))


def placeholders(template: str) -> set[str]:
    """The names in braces."""
    return set(_PLACEHOLDER.findall(template))


def read_tag(template: str, names: Names) -> str | None:
    """A tag that somebody else made by this template; None if a value is missing, or it can be no tag.

    Branches and git tags are spelled as docker/metadata-action spells them: what no tag may have is a hyphen.
    """
    values = _values(names) | {
        key: None if name is None else _NOT_IN_TAG.sub("-", name)
        for key, name in (("branch", names.branch), ("tag", names.tag))
    }
    if any(values.get(name) is None for name in placeholders(template)):
        return None
    made = _PLACEHOLDER.sub(lambda part: values[part[1]] or "", template)
    return made if _TAG.fullmatch(made) else None


def _values(names: Names) -> dict[str, str | None]:
    semver = _SEMVER.match(names.tag or "")
    pre = semver[4] if semver else None
    return {
        "branch": None if names.branch is None else _of_branch(names.branch),
        "tag": None if names.tag is None else _of_git_tag(names.tag),
        "version": f"{semver[1]}.{semver[2]}.{semver[3]}{pre or ''}" if semver else None,
        # A release candidate is not yet what 1 and 1.2 stand for.
        "major": semver[1] if semver and not pre else None,
        "minor": f"{semver[1]}.{semver[2]}" if semver and not pre else None,
        "sha": names.sha,
        "short_sha": names.sha[:7],
        "pr": None if names.pr is None else str(names.pr),
    }


def _of_branch(name: str) -> str:
    """As no git tag is spelled."""
    spelled = _spelled(name) or "branch"
    return f"branch-{spelled}" if _NO_BRANCH.match(spelled) else spelled


def _of_git_tag(name: str) -> str:
    """As no branch is spelled."""
    spelled = _spelled(name)
    return spelled if _VERSION.match(spelled) else f"tag-{spelled}"


def _spelled(text: str) -> str:
    return _NOT_IN_TAG.sub("-", text).lstrip("-.")


def _is_its_own(tag: str, wanted: Set[str], templates: Sequence[str], names: Names) -> bool:
    """Whether a branch alone may have this tag, by its commit or its name; what is cut off tells neither."""
    if len(tag) > _MOST:
        return False
    return "sha" in wanted or ("branch" in wanted and not _is_of_others(tag, templates, names))


def _is_of_others(tag: str, templates: Sequence[str], names: Names) -> bool:
    """Whether the default branch, a git tag, a pull request or another commit may have this tag."""
    values = dict(_VALUES)
    if names.default_branch is not None:
        values["branch"] = re.escape(_of_branch(names.default_branch))
    return any(_pattern(template, values).fullmatch(tag) for template in ("{sha}", "latest", *templates))


def _pattern(template: str, values: Mapping[str, str]) -> re.Pattern[str]:
    """What tags a template makes of these values, or more; of one that is not there, none."""
    first, *more = _PLACEHOLDER.split(template)
    pattern = re.escape(_spelled(first))
    for name, text in zip(more[::2], more[1::2], strict=True):
        pattern += values.get(name, "(?!)")
        if name in _OPEN:
            return re.compile(f"{pattern}.*")
        pattern += re.escape(_NOT_IN_TAG.sub("-", text))
    return re.compile(pattern)
