"""Which kind of project a folder is: the first that knows it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from config.errors import ConfigError
from config.recipes import compiled, node, python, scripted
from config.recipes.folder import Folder
from config.recipes.recipe import Recipe, Unsure

# A server's own files go before a package.json, which many have for their assets alone.
KINDS = (
    compiled.elixir,
    scripted.ruby,
    scripted.php,
    python.recipe,
    compiled.go,
    compiled.rust,
    compiled.java,
    compiled.dotnet,
    node.recipe,
    scripted.static,
)
NAME = "Dockerfile"
# What may be one by another name: where it lies, none is made.
NAMES = re.compile(r"(.+\.)?(dockerfile|containerfile)(\.(?!dockerignore).+)?", re.IGNORECASE)
_KNOWN = (
    "package.json, pyproject.toml or requirements.txt, go.mod, Cargo.toml, Gemfile, composer.json, pom.xml or"
    " build.gradle, *.csproj, mix.exs, index.html"
)


def is_made(context: str, dockerfile: str) -> bool:
    """Whether a Dockerfile that is missing is made: where an image names none of another name or place."""
    place = PurePosixPath(dockerfile)
    return place.name == NAME and place.parent in (PurePosixPath(), PurePosixPath(context))


def recipe(folder: Folder) -> Recipe:
    """Raises ConfigError with what could not be found out, and what to do."""
    try:
        for kind in KINDS:
            if found := kind(folder):
                return found
    except Unsure as unsure:
        raise ConfigError(str(unsure)) from None
    raise ConfigError(
        f"what kind of project it is can't be told, for there is none of {_KNOWN}: write a Dockerfile"
    )
