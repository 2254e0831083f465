"""A recipe ▸ the texts of a Dockerfile, of what its builds are not sent, and of a `.blacktree.yml`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.importing.compose_values import name
from config.importing.written import dumped
from config.processes import PREVIEW, WEB
from config.recipes.recipe import Recipe

if TYPE_CHECKING:
    from jinja2 import Environment

# What no image needs, and what should be in none: keys, and variables that are meant for one's own machine.
_IGNORED = (
    *(
        ".git",
        ".github",
        ".gitignore",
        ".dockerignore",
        "Dockerfile*",
        "compose*.y*ml",
        "docker-compose*.y*ml",
    ),
    *(".blacktree.yml", "**/.env", ".env.*", "*.pem", "**/*.key", ".vscode", ".idea", ".DS_Store"),
)


def dockerfile(recipe: Recipe) -> str:
    text = (
        _templates()
        .get_template(f"{recipe.kind}.Dockerfile.j2")
        .render({**recipe.values, "command": list(recipe.command), "port": recipe.port})
    )
    return f"# {recipe.title}, as told by {', '.join(recipe.seen)}.\n{text}"


def dockerignore() -> str:
    return "\n".join(_IGNORED) + "\n"


def ignored(recipe: Recipe) -> str:
    """What the builds of this kind are not sent, for a `.dockerignore`."""
    return dockerignore() + "".join(f"{path}\n" for path in recipe.ignored)


def blacktree_yml(recipe: Recipe) -> str:
    """Where the defaults are enough, it says so by what it leaves out."""
    place: dict[str, Any] = {}
    if recipe.release:
        place["release_command"] = list(recipe.release)
    if recipe.processes:
        others = {name(key): {"command": list(command)} for key, command in recipe.processes.items()}
        place["processes"] = {WEB: {"port": recipe.port}, **others}
    elif recipe.port:
        place["port"] = recipe.port
    lines = [
        f"# {recipe.title}, by `blacktree init`; every key there is: docs/blacktree-yml.md.",
        dumped({"environments": {"production": place, PREVIEW: place}}),
    ]
    if recipe.hints:
        lines += ["# Perhaps, for an environment (docs/services.md tells of databases):"]
        lines += [f"#    {hint}" for hint in recipe.hints]
    return "\n".join(lines) + "\n"


def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # 40 ms, for the few who need it

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - no HTML: what is filled in was matched, or is JSON
    )
    made.filters["json"] = json.dumps
    return made
