"""Pure: the tags of an image, from templates and what its cause is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SEMVER = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)([-+].*)?$")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md: what a tag may be spelled with.
_NOT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]+")
_MOST = 128


@dataclass(frozen=True)
class Names:
    """What a commit is called: `ref` is the name of whatever led to it."""

    sha: str
    ref: str
    branch: str | None = None
    tag: str | None = None
    pr: int | None = None


def image_tags(templates: Sequence[str], names: Names) -> list[str]:
    """The tags that the templates give, the SHA first; one whose value is missing gives none."""
    values = _values(names)
    made = [names.sha]
    for template in templates:
        wanted = re.findall(r"\{([a-z_]+)\}", template)
        if all(values.get(name) is not None for name in wanted):
            tag = re.sub(r"\{([a-z_]+)\}", lambda part: values[part[1]] or "", template)
            made.append(_NOT_IN_TAG.sub("-", tag).lstrip("-.")[:_MOST])
    return list(dict.fromkeys(tag for tag in made if tag))


def _values(names: Names) -> dict[str, str | None]:
    semver = _SEMVER.match(names.tag or "")
    pre = semver[4] if semver else None
    return {
        "branch": names.branch,
        "tag": names.tag,
        "version": f"{semver[1]}.{semver[2]}.{semver[3]}{pre or ''}" if semver else None,
        # A release candidate is not yet what 1 and 1.2 stand for.
        "major": semver[1] if semver and not pre else None,
        "minor": f"{semver[1]}.{semver[2]}" if semver and not pre else None,
        "sha": names.sha,
        "short_sha": names.sha[:7],
        "pr": None if names.pr is None else str(names.pr),
    }
