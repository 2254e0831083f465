"""python -m tests.apps [FOLDER...] (docs/apps.md says what lies in one; without, those in `projects`)"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

import httpx2

from tests.apps.app import App, load
from tests.apps.engine import engine
from tests.apps.source import checked_out
from tests.apps.story import Story
from tests.demo.base import cache
from tests.github import GitHub
from tests.instance import instance
from tests.integration.conftest import Developer
from tests.parts.engine import Engine

_PROJECTS = Path(__file__).parent / "projects"


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Prove each; the exit code is 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.apps", description="Projects that others wrote.")
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    folders: list[Path] = parser.parse_args().folders or sorted(
        file.parent for file in _PROJECTS.glob("*/app.py")
    )
    mirror = environ.get("APPS_MIRROR", "")
    projects = Path(environ.get("APPS_CACHE") or cache() / "apps")
    bad = 0
    with engine(mirror) as settings:
        for folder in folders:
            app, worker = load(folder), f"apps-{secrets.token_hex(3)}"
            try:
                asyncio.run(_proven(app, worker, projects, settings, offline=bool(mirror)))
            except (AssertionError, httpx2.HTTPError):
                bad += 1
                traceback.print_exc()
            finally:
                with Engine() as here:
                    here.remove(f"io.blacktree.worker={worker}")
                    here.remove(f"io.blacktree.repository={app.repository}")
    print(f"{len(folders) - bad} of {len(folders)} projects proven")
    return 1 if bad else 0


async def _proven(
    app: App, worker: str, projects: Path, settings: Mapping[str, str], *, offline: bool
) -> None:
    folder, begun = Path(tempfile.mkdtemp(prefix="blacktree-apps-")), time.monotonic()

    def say(text: str) -> None:
        print(f"{app.repository} {time.monotonic() - begun:6.0f} s  {text}", flush=True)

    try:
        (folder / "backups").mkdir()
        known = {**settings, "service_backups": str(folder / "backups")}
        async with (
            GitHub.running(folder / "github") as github,
            instance(folder, github, **known) as blacktree,
        ):
            await blacktree.start("up", worker)
            await blacktree.ready()
            ada = github.user("ada")
            files = {"README": app.repository}
            theirs = await github.create_repository(app.repository, files, collaborators={"ada": "write"})
            developer = Developer(github, ada, theirs, await theirs.clone(folder / "work", ada))
            for line in checked_out(app, projects, developer.work.path, offline=offline):
                say(f"changed: {line}")
            github.install_app(theirs)
            await developer.work.git("add", "--all", "--force")  # what they ignore and have all the same
            await developer.push({}, message=f"{app.repository} at {app.commit}")
            await Story(app, blacktree, developer, say).tell()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
