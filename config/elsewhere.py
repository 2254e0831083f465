"""Images that are built elsewhere, as `.blacktree.yml` names them: where they come from, by which tag."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

from config.fields import Spelled
from config.tags import Names, placeholders, read_tag

if TYPE_CHECKING:
    from config.repository import Image, Repository

Misfit = tuple[tuple[str | int, ...], str]

USUAL = ("{sha}",)  # templates of the tag of an image that names none
# Values that every commit has, and those that say nothing of which commit an image was built from.
_ALWAYS = frozenset({"sha", "short_sha"})
_MOVING = frozenset({"branch", "pr"})
_KNOWN = _ALWAYS | _MOVING | {"tag"}
_OF_BUILDS = (
    "context", "dockerfile", "target", "args", "platforms", "test", "tags", "registries", "secrets", "ssh",
    "cache", "pull", "limits",
)  # fmt: skip
_OF_OTHERS = ("tag", "check", "follow")

# https://pkg.go.dev/github.com/distribution/reference; the host is always said, so that nobody has to guess.
Origin = Annotated[
    str,
    Field(max_length=255),
    Spelled(
        r"(localhost|[a-z0-9][a-z0-9-]*(\.[a-z0-9-]+)+|[a-z0-9][a-z0-9.-]*(?=:[0-9]))(:[0-9]{1,5})?"
        r"(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)+",
        "must be an image with its registry and without a tag, such as ghcr.io/acme/app",
    ),
]


def _template(value: str) -> str:
    if unknown := sorted(placeholders(value) - _KNOWN):
        raise ValueError(f"knows {', '.join(f'{{{one}}}' for one in sorted(_KNOWN))}, not {{{unknown[0]}}}")
    if read_tag(value, Names("0" * 40, "x", branch="x", tag="x", pr=1)) is None:
        raise ValueError("must be a tag: letters, digits and . _ - around what stands in braces")
    return value


Template = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_template)]


def tag(image: Image, names: Names) -> str:
    """The first of the image's templates that has a value for what a commit is called."""
    made = (read_tag(template, names) for template in image.tag or USUAL)
    return next((one for one in made if one), names.sha)


def fixed(image: Image) -> bool:
    """Whether its tag is the same for all commits: then no commit waits for it, and it may be followed."""
    return image.source is not None and not placeholders("".join(image.tag or USUAL))


def moving(image: Image, names: Names) -> bool:
    """Whether the tag was there before the commit, for another one: what made it last is not known by it."""
    chosen = next((one for one in image.tag or USUAL if read_tag(one, names)), "")
    return bool(placeholders(chosen)) and not placeholders(chosen) - _MOVING


def misfits(config: Repository) -> Iterator[Misfit]:
    """What of such images does not fit together, each as (where, sentence)."""
    for name, image in config.images.items():
        said = {
            key for key, known in type(image).model_fields.items() if getattr(image, key) != _usual(known)
        }
        if image.source is None:
            for key in (key for key in _OF_OTHERS if key in said):
                yield (
                    ("images", name, key),
                    "is for an image that is built elsewhere: write `from` too, or leave it out",
                )
            continue
        for key in (key for key in _OF_BUILDS if key in said):
            yield (
                ("images", name, key),
                "says how it is built, and `from` that it is built elsewhere: leave one of them out",
            )
        yield from _tags(name, image)


def _usual(known: FieldInfo) -> object:
    """What a key has that is left out: a file that writes just that says nothing."""
    return known.get_default(call_default_factory=True)


def _tags(name: str, image: Image) -> Iterator[Misfit]:
    where, templates = ("images", name), image.tag or USUAL
    last = placeholders(templates[-1])
    if last - _ALWAYS:
        named = ", ".join(f"{{{one}}}" for one in sorted(last - _ALWAYS))
        yield (
            (*where, "tag"),
            f'not every commit has a {named}: add "{{sha}}" as the last, which then counts for all others',
        )
    if image.check is None and any(_only_moving(one) for one in templates):
        yield (
            (*where, "check"),
            "is missing: a branch's or a pull request's tag is there from its last commit already, so say"
            " which check at GitHub makes it anew",
        )
    if image.check is not None and fixed(image):
        yield (
            (*where, "check"),
            f"is waited for before a commit's own tag, and {shown(templates)} is no commit's: name one such"
            ' as "{sha}" in its place, or leave `check` out',
        )
    if image.follow is not None and not fixed(image):
        yield (
            (*where, "follow"),
            "follows a tag that is moved, such as stable: with {sha} and the like there is a new tag for each"
            " commit, which is waited for",
        )


def _only_moving(template: str) -> bool:
    return bool(placeholders(template)) and not placeholders(template) - _MOVING


def shown(templates: Sequence[str]) -> str:
    """The templates of a tag, for people."""
    return " or ".join(templates or USUAL)
