"""A commit without a Dockerfile: the one that `blacktree init` would write is built, and shown in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path

from config.errors import ConfigError
from config.recipes.folder import look
from config.recipes.rendering import dockerfile, ignored
from config.recipes.table import NAME, is_made, recipe
from workers.attempt import Attempt
from workers.build.reuse import inside, lacks
from workers.contract.failure import user
from workers.contract.messages import BuildSpec

_FOLDER = "generated"


async def generated(attempt: Attempt, spec: BuildSpec, folder: Path) -> Path | None:
    """The Dockerfile that was made for the files in `folder`; None where the commit has one. Raises Failure.

    It lies beside the commit's files, never among them.
    """
    made = await asyncio.to_thread(_made, spec, folder, attempt.folder / _FOLDER)
    if made is not None:
        attempt.log.line(f"no {spec.dockerfile} in this commit: what `blacktree init` writes is built")
        attempt.log.line((await asyncio.to_thread(made.read_text, encoding="utf-8")).rstrip("\n"))
    return made


def _made(spec: BuildSpec, folder: Path, place: Path) -> Path | None:
    if not is_made(spec.context, spec.dockerfile) or not lacks(folder, spec.dockerfile):
        return None
    context = inside(folder, spec.context, "context")
    try:
        found = recipe(look(context))
    except ConfigError as error:
        said = f"There is no {spec.dockerfile} in this commit, and none could be made: {error}"
        raise user("dockerfile_missing", said) from None
    place.mkdir(exist_ok=True)
    made = place / NAME
    made.write_text(dockerfile(found), encoding="utf-8")
    if not (context / ".dockerignore").is_file():
        (place / f"{NAME}.dockerignore").write_text(ignored(found), encoding="utf-8")
    return made
